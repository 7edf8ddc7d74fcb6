//! What the programs count: `enum count` of `plugin/bpf/maps.h`.

use super::maps;
use super::path::FastPath;
use crate::kernel::KernelError;

/// Names of what is counted, in its order.
pub const COUNTS: [&str; 15] = [
    "toPod",
    "toOverlay",
    "toUplink",
    "learned",
    "approved",
    "unknown",
    "stale",
    "asked",
    "astray",
    "handshake",
    "other",
    "tooLarge",
    "expires",
    "failed",
    "fromUplink",
];

/// How often each has happened, in the order of [`COUNTS`].
pub type Counts = [u64; COUNTS.len()];

impl FastPath {
    /// What the programs have counted: the sums over all CPUs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counts(&self) -> Result<Counts, KernelError> {
        let map = self.map("counts")?;
        let mut counts = Counts::default();
        let mut each = vec![0; 8 * possible_cpus()];
        for (place, count) in (0..).zip(&mut counts) {
            maps::read(&map, place, &mut each)?;
            *count = each
                .chunks_exact(8)
                .filter_map(|bytes| bytes.first_chunk().copied())
                .map(u64::from_ne_bytes)
                .sum();
        }
        Ok(counts)
    }
}

/// As many as the kernel has room for, whether they are there or not: it writes a value for each.
fn possible_cpus() -> usize {
    const MOST: usize = 8192; // NR_CPUS of the largest configurations
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or(MOST, |last| last + 1)
}
