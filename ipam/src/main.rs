//! `flatnet-ipam`: an IPAM plugin for any main plugin that delegates by the CNI protocol, with the
//! range file of flatnet or with the keys of the reference plugin host-local.
//!
//! It never opens the pod's network namespace: the runtime may not have made it yet.

mod cni;

use std::io::{IsTerminal, Read, empty, stdin, stdout};
use std::process::ExitCode;

/// musl's own allocator maps and unmaps a page at a time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    // A person at a terminal gets told what is missing, instead of being waited for.
    let input: Box<dyn Read> =
        if stdin().is_terminal() { Box::new(empty()) } else { Box::new(stdin()) };
    let reply = flatnet_conf::call(|name| std::env::var_os(name), input, cni::serve);
    match reply.write(stdout()) {
        Ok(()) if reply.success => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            // The main plugin takes this for a failure, and calls DEL.
            flatnet_conf::complain(
                "flatnet-ipam",
                &format_args!("cannot write the result: {error}"),
            );
            ExitCode::FAILURE
        }
    }
}
