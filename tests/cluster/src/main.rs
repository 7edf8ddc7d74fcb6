//! `make demo-kubernetes` and `make conformance`.

use std::panic::{catch_unwind, set_hook};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flatnet_cluster::patience::heed_signals;

mod demo;

#[derive(Parser)]
#[command(about = "A Kubernetes of real programs on this machine, with flatnet as its network")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Nodes with pods, and who reaches whom
    Demo {
        /// How many nodes
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    heed_signals();
    // The message tells a person enough, without its place in the source.
    set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
        eprintln!("{}", message.unwrap_or("failed"));
    }));
    let work = || match arguments.command {
        Command::Demo { nodes } => demo::run(nodes),
    };
    if catch_unwind(work).unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
