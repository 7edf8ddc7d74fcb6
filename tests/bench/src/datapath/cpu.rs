//! How busy the machine is. A packet is handled in interrupts and on behalf of whatever runs, so only
//! the whole machine tells what it costs.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// The seconds that all CPUs together have worked since boot.
pub fn busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("the length of a tick");
    busy_ticks(&text) as f64 / ticks as f64
}

/// user, nice, system, irq, softirq of the first line; not idle, iowait, nor what the host stole.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().expect("a first line");
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).map(|field| field.parse().expect("ticks")).collect();
    [0, 1, 2, 5, 6].iter().map(|index| fields[*index]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_no_work() {
        assert_eq!(busy_ticks("cpu  1 20 300 7000 90000 4000 50000 600000 0 0\ncpu0 1"), 54321);
    }
}
