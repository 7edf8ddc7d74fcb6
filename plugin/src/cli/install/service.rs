//! What keeps the network after an installation: the unit `flatnet-sync.service`, where systemd runs.
//!
//! A unit that is there, of the package or of an administrator, is used as it is. The unit is for the
//! usual folders; others may be those of an image, whose services are not this machine's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::place::{BIN_DIR, Done, put};
use crate::cli::error::CommandError;
use crate::cli::networks::CONF_DIR;

const UNIT: &str = "flatnet-sync.service";
/// The package's.
const TEXT: &str = include_str!("../../../../packaging/systemd/flatnet-sync.service");
/// How ours is known from one written by hand.
const MARK: &str = "# Written by `flatnet install`, which replaces it: `systemctl edit flatnet-sync` adds to it.\n";
/// Where a unit of that name may be; the first is where an administrator's are, and ours.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Who keeps the network.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// This unit, which runs now and after each start of the machine.
    ByUnit(PathBuf, Done),
    /// Whatever else supervises services here; the note says what to run.
    ByOthers(String),
    /// Nothing, for the reason given.
    Not(String),
}

/// Sees to it that the network is kept. A service that runs already is restarted if the executable
/// was `renewed`.
///
/// # Errors
/// The unit cannot be written.
pub fn keep(bin_dir: &Path, conf_dir: &Path, renewed: bool) -> Result<Kept, CommandError> {
    let usual = bin_dir == Path::new(BIN_DIR) && conf_dir == Path::new(CONF_DIR);
    if !usual || !systemd_runs() {
        return Ok(Kept::ByOthers(by_hand(bin_dir, conf_dir)));
    }
    let (path, done) = match foreign(&FOLDERS.map(Path::new)) {
        Some(path) => (path, Done::Unchanged),
        None => {
            let folder = Path::new(FOLDERS[0]);
            let text = format!("{MARK}{TEXT}");
            (folder.join(UNIT), put(folder, UNIT, text.as_bytes(), 0o644)?)
        }
    };
    let renewed = renewed || done == Done::Replaced;
    let start = if renewed { "restart" } else { "start" };
    let calls: [&[&str]; 3] = [&["daemon-reload"], &["--quiet", "enable", UNIT], &[start, UNIT]];
    Ok(match calls.into_iter().try_for_each(systemctl) {
        Ok(()) => Kept::ByUnit(path, done),
        Err(problem) => Kept::Not(problem),
    })
}

/// systemd, and one whose services run in this network namespace.
fn systemd_runs() -> bool {
    let netns = |process: &str| Some(fs::metadata(format!("/proc/{process}/ns/net")).ok()?.ino());
    Path::new("/run/systemd/system").is_dir() && netns("1") == netns("self")
}

fn by_hand(bin_dir: &Path, conf_dir: &Path) -> String {
    let mut command = format!("{} sync --watch", bin_dir.join("flatnet").display());
    if conf_dir != Path::new(CONF_DIR) {
        command += &format!(" --conf-dir {}", conf_dir.display());
    }
    format!("what keeps the network is `{command}`: have your supervisor run it, also at boot")
}

/// The unit of that name that was not written here. A link to nowhere, which masks it, is one too.
fn foreign(folders: &[&Path]) -> Option<PathBuf> {
    let paths = folders.iter().map(|folder| folder.join(UNIT));
    let mut there = paths.filter(|path| path.symlink_metadata().is_ok());
    there.find(|path| !fs::read(path).is_ok_and(|text| text.starts_with(MARK.as_bytes())))
}

fn systemctl(arguments: &[&str]) -> Result<(), String> {
    let called = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("nothing keeps the network: cannot run `{called}`: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "nothing keeps the network: `{called}`: {}, {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_unit_written_by_hand_is_found_and_ours_is_not() {
        let root = tempfile::tempdir().unwrap();
        let [etc, usr] = ["etc", "usr"].map(|name| root.path().join(name));
        let folders = [etc.as_path(), usr.as_path()];
        assert_eq!(foreign(&folders), None);
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&usr).unwrap();
        fs::write(etc.join(UNIT), format!("{MARK}[Unit]\n")).unwrap();
        assert_eq!(foreign(&folders), None);
        fs::write(usr.join(UNIT), TEXT).unwrap();
        assert_eq!(foreign(&folders), Some(usr.join(UNIT)), "the package's");
        fs::write(etc.join(UNIT), "[Service]\n").unwrap();
        assert_eq!(foreign(&folders), Some(etc.join(UNIT)), "an administrator's");
        fs::remove_file(etc.join(UNIT)).unwrap();
        symlink("/dev/null", etc.join(UNIT)).unwrap();
        assert_eq!(foreign(&folders), Some(etc.join(UNIT)), "masked");
    }

    #[test]
    fn other_folders_are_kept_by_another_command() {
        let kept = keep(Path::new("/opt/cni/bin"), Path::new("/opt/cni/config"), false).unwrap();
        let Kept::ByOthers(note) = kept else { panic!("{kept:?}") };
        let command = "`/opt/cni/bin/flatnet sync --watch --conf-dir /opt/cni/config`";
        assert!(note.contains(command), "{note}");
    }
}
