//! `flatnet` for people: what the executable does when no runtime calls it (no `CNI_COMMAND`).
//!
//! Each command has a file of its own and answers with text and an `Outcome`; this module alone
//! prints, and turns the outcome into an exit code: 0 fine, 1 a finding (what was looked at is not
//! as it should be), 2 could not look, or not understood.

mod allot;
mod arp;
mod ask;
mod asker;
mod capacity;
mod doctor;
mod drift;
mod echo;
mod error;
mod finding;
mod fingerprint;
mod install;
mod lab;
mod list;
mod look;
mod networks;
mod notify;
mod output;
mod plugins;
mod pod_name;
mod probe;
mod progress;
mod ranges;
mod remove;
mod solicitation;
mod status;
mod sync;
mod synced;
mod table;
mod trace;
mod usage;
mod version;
mod versions;

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use install::{Configuration, Done, EXECUTABLES, put};
pub use list::age;
pub use output::{Answer, Outcome, columns};
pub use table::{Align, Table};

/// `0.1.0 (x86_64-unknown-linux-gnu, static)`: an executable that is copied to nodes must tell
/// what it needs there.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let environment = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let linkage = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    format!("{} ({ARCH}-unknown-{OS}-{environment}, {linkage})", env!("CARGO_PKG_VERSION"))
});

/// One flat network for the pods of every node.
///
/// This is the CNI plugin `flatnet`; container runtimes call it with CNI_COMMAND set. Without it,
/// these commands are for people.
#[derive(Parser)]
#[command(name = "flatnet", version = VERSION.as_str(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write or check a range file: which node's pods have which addresses
    #[command(subcommand)]
    Ranges(ranges::Command),
    Sync(sync::Command),
    Remove(remove::Command),
    Install(install::Command),
    Status(status::Command),
    List(list::Command),
    Doctor(doctor::Command),
    Trace(trace::Command),
    Probe(probe::Command),
    /// Several nodes on this machine, as network namespaces, with pods
    #[command(subcommand)]
    Lab(lab::Command),
}

/// What the arguments may be: for man pages and shell completions, which no plugin has to carry.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command of the arguments.
pub fn run() -> ExitCode {
    // A usage error ends here with exit code 2, help and version with 0.
    let cli = Cli::parse();
    let answer = match cli.command {
        Command::Ranges(command) => command.run(),
        Command::Sync(command) => command.run(),
        Command::Remove(command) => command.run(),
        Command::Install(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::List(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::Probe(command) => command.run(),
        Command::Lab(command) => command.run(),
    };
    let outcome = answer.and_then(Answer::print).unwrap_or_else(|error| {
        output::complain(&error);
        Outcome::from(&error)
    });
    ExitCode::from(outcome as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn version_names_what_was_built() {
        let version = Cli::command().render_version();
        assert!(version.starts_with("flatnet 0."), "{version}");
        assert!(version.contains("-unknown-linux-"), "{version}");
        assert!(version.ends_with("static)\n") || version.ends_with("dynamic)\n"), "{version}");
    }
}
