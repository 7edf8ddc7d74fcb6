//! The executable `flatnet-docker`.

use std::process::ExitCode;

/// musl's own allocator maps and unmaps a page at a time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    flatnet_docker::run()
}
