//! The executable `flatnet`.

use std::process::ExitCode;

/// musl's own allocator maps and unmaps a page at a time: a quarter of an ADD's system calls.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    flatnet::run()
}
