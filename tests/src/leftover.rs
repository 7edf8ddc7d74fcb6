//! What a container runtime leaves of a failed test: processes and mounts, all of which have the
//! test's own folder in their command line or their path.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::PATIENCE;

/// The processes that were started for a folder.
pub fn processes(folder: &Path) -> Vec<Pid> {
    let needle = folder.as_os_str().as_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != i32::try_from(std::process::id()).unwrap_or(0))
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(needle.len()).any(|window| window == needle)
        })
        .map(Pid::from_raw)
        .collect()
}

/// The mounts below a folder, the innermost first.
pub fn mounts(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<PathBuf> =
        points.map(PathBuf::from).filter(|point| point.starts_with(folder)).collect();
    below.reverse();
    below
}

/// Ends what was started for a folder, and what those had started, and unmounts what is below it.
pub fn remove(folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = processes(folder);
        let with_children = left.iter().flat_map(|pid| children(*pid)).chain(left.iter().copied());
        for pid in with_children {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for point in mounts(folder) {
        let _ = umount2(&point, MntFlags::MNT_DETACH);
    }
}

/// The children of a process: a shim's are the pods'.
fn children(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}
