//! `flatnet`: a CNI plugin when a runtime calls it, a tool when a person does.
//!
//! A runtime sets `CNI_COMMAND` and passes no arguments (CNI specification, section 2). netavark passes arguments
//! that no command for people has.

mod attachment;
mod author;
mod call;
pub mod cli;
pub mod endpoint;
mod error;
mod firewall;
mod identity;
mod kernel;
pub mod logging;
mod overlay;
pub mod runtime;
pub mod upkeep;

use std::process::ExitCode;

/// What the executable does: serves a runtime's call, or a person's command.
pub fn run() -> ExitCode {
    let called = std::env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty());
    if !called || std::env::args_os().len() > 1 {
        return runtime::netavark::serve(std::env::args_os().skip(1)).unwrap_or_else(cli::run);
    }
    match call::call(|name| std::env::var_os(name), std::io::stdin(), std::io::stdout()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
