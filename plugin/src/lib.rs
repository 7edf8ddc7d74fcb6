//! `flatnet`: a CNI plugin when a runtime calls it, a tool when a person does.
//!
//! A runtime sets `CNI_COMMAND` and passes no arguments (CNI specification, section 2).

mod apply;
#[cfg(test)]
mod apply_properties;
mod attachment;
mod books;
pub mod cli;
mod dead_end;
mod delegate;
mod desired;
mod dispatch;
mod error;
mod fingerprint;
mod finished;
mod forward_policy;
mod forwarding;
mod grant;
mod identity;
mod inotify;
mod kernel;
mod living;
mod logging;
mod mtu;
mod network_lock;
mod node_lock;
mod other_networks;
mod outlets;
mod outside;
mod overlay;
mod overlay_lock;
mod own_addresses;
mod pods;
mod ready;
mod receiver;
mod reconcile;
mod remove;
mod retire;
mod sandboxes;
mod side;
mod stamp;
mod summary;
mod sync;
mod underlay;
mod unleased;
pub mod upkeep;
mod verbs;
mod watch;

use std::process::ExitCode;

/// What the executable does: serves a runtime's call, or a person's command.
pub fn run() -> ExitCode {
    let called = std::env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty());
    if !called || std::env::args_os().len() > 1 {
        return cli::run();
    }
    let reply = dispatch::call(|name| std::env::var_os(name), std::io::stdin());
    match reply.write(std::io::stdout()) {
        Ok(()) if reply.success => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(e) => {
            // The runtime will take this for a failure and call again or clean up.
            eprintln!("flatnet: cannot write the result: {e}");
            ExitCode::FAILURE
        }
    }
}
