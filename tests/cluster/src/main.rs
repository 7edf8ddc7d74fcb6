//! `make demo-kubernetes`, `make demo-etcd`, `make conformance` and `make bench-cluster`.

use std::panic::{catch_unwind, set_hook};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flatnet_cluster::patience::{heed_signals, interrupted};

mod conformance;
mod demo;
mod demo_etcd;
mod dns;
mod large;

/// What a shell would say of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

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
    /// Nodes without a Kubernetes that go by an etcd, of which a member dies
    DemoEtcd,
    /// Kubernetes' own tests
    Conformance {
        /// Which, as a regular expression
        #[arg(long, default_value = conformance::FOCUS)]
        focus: String,
    },
    /// What an agent costs in a large cluster, and flannel's daemon beside it
    Bench {
        /// Only as much as shows that it works; the figures mean nothing
        #[arg(long)]
        short: bool,
        /// The document whose generated section is written again
        #[arg(long, value_name = "FILE")]
        document: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    heed_signals();
    // The message tells a person enough, without its place in the source.
    set_hook(Box::new(|panic| {
        if interrupted() {
            return;
        }
        let payload = panic.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
        eprintln!("{}", message.unwrap_or("failed"));
    }));
    let work = || match &arguments.command {
        Command::Demo { nodes } => demo::run(*nodes),
        Command::DemoEtcd => demo_etcd::run(),
        Command::Conformance { focus } => conformance::run(focus),
        Command::Bench { short, document } => large::run(*short, document.as_deref()),
    };
    let good = catch_unwind(work).unwrap_or(false);
    if interrupted() {
        eprintln!("interrupted; everything is removed");
        return ExitCode::from(INTERRUPTED);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
