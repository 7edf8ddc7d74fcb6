//! What a run leaves that was killed and so could not clean up. The next one does it.

use std::fs;
use std::path::Path;
use std::sync::Once;
use std::thread::sleep;
use std::time::Duration;

use flatnet_tests::netns::{FOLDER, PREFIX};
use flatnet_tests::program::{command, finish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup;

/// What the folder of every cluster of this process begins with.
pub fn prefix() -> String {
    format!("{PREFIX}{}-cluster-", std::process::id())
}

/// Ends the processes of runs that are no more, and removes their cgroups and folders. Their network
/// namespaces go with the first that is made.
pub fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for name in names(FOLDER).filter(|name| is_orphan(name)) {
            let output = finish(&mut command("ip", ["netns", "pids", &name]), b"");
            let pids = String::from_utf8_lossy(&output.stdout).into_owned();
            for pid in pids.split_whitespace().filter_map(|word| word.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for cgroup in cgroup::remains(is_orphan) {
            end(&cgroup);
        }
        let temporary = std::env::temp_dir();
        for name in names(&temporary).filter(|name| name.contains("-cluster-") && is_orphan(name)) {
            drop(fs::remove_dir_all(temporary.join(name)));
        }
    });
}

/// Kills what runs in a cgroup, and waits for it to go.
fn end(cgroup: &cgroup::Cgroup) {
    for _ in 0..200 {
        let left = cgroup.processes();
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        sleep(Duration::from_millis(5));
    }
}

fn names(folder: impl AsRef<Path>) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Whether the process that a name begins with is no more.
fn is_orphan(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}
