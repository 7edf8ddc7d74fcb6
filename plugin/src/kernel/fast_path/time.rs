//! What the programs take for the time.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::call;
use crate::kernel::KernelError;

/// The clock that goes on with each tick of the kernel.
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;

/// The time by which the programs say when a flow was learned: 2^24 nanoseconds each.
pub(super) fn now() -> Result<u32, KernelError> {
    Ok((ask(clock_gettime)?.as_nanos() >> 24) as u32)
}

/// A second in the programs' ticks, rounded down. How long the kernel's own are (`CONFIG_HZ`), its clock says.
pub(super) fn second() -> Result<u32, KernelError> {
    ask(clock_getres).map(ticks_of_a_second)
}

fn ask(what: fn(ClockId) -> nix::Result<TimeSpec>) -> Result<Duration, KernelError> {
    let refused = |e: Errno| call::refused("ask for the time".into(), e, &[]);
    what(CLOCK).map(Duration::from).map_err(refused)
}

/// One is four of the kernel's (`ticks` in `plugin/bpf/maps.h`).
fn ticks_of_a_second(kernels: Duration) -> u32 {
    const SECOND: Duration = Duration::from_secs(1);
    SECOND.as_nanos().checked_div(4 * kernels.as_nanos()).unwrap_or_default() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_quarter_of_the_kernels_ticks() {
        for (hertz, ticks) in [(100, 25), (250, 62), (300, 75), (1000, 250)] {
            assert_eq!(ticks_of_a_second(Duration::from_secs(1) / hertz), ticks, "{hertz} Hz");
        }
    }
}
