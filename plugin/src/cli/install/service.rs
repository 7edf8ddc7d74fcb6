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
use crate::runtime::folder::CONF_DIR;

/// A unit: its name, and what the package has.
type Unit = (&'static str, &'static str);

const SYNC: Unit =
    ("flatnet-sync.service", include_str!("../../../../packaging/systemd/flatnet-sync.service"));
/// What serves Docker, and the socket that starts it.
const DOCKER: [Unit; 2] = [
    (
        "flatnet-docker.service",
        include_str!("../../../../packaging/systemd/flatnet-docker.service"),
    ),
    ("flatnet-docker.socket", include_str!("../../../../packaging/systemd/flatnet-docker.socket")),
];
/// How ours is known from one written by hand.
const MARK: &str =
    "# Written by `flatnet install`, which replaces it: `systemctl edit` adds to it.\n";
/// How an earlier release knew it.
const EARLIER: &str = "# Written by `flatnet install`";
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
    let (path, done) = put_unit(SYNC)?;
    let renewed = renewed || done == Done::Replaced;
    let start = if renewed { "restart" } else { "start" };
    let (unit, _) = SYNC;
    let calls: [&[&str]; 3] = [&["daemon-reload"], &["--quiet", "enable", unit], &[start, unit]];
    Ok(match calls.into_iter().try_for_each(systemctl) {
        Ok(()) => Kept::ByUnit(path, done),
        Err(problem) => Kept::Not(format!("nothing keeps the network: {problem}")),
    })
}

/// Sees to it that Docker is served: the socket stands, and a driver that runs already is ended if the executable
/// was `renewed`, so that the next call starts the new one.
///
/// # Errors
/// A unit cannot be written.
pub fn serve_docker(bin_dir: &Path, conf_dir: &Path, renewed: bool) -> Result<Kept, CommandError> {
    let usual = bin_dir == Path::new(BIN_DIR) && conf_dir == Path::new(CONF_DIR);
    if !usual || !systemd_runs() {
        let command = by_hand_with(&bin_dir.join("flatnet-docker"), "", conf_dir);
        let note = format!(
            "what serves Docker is `{command}`: have your supervisor run it, before Docker"
        );
        return Ok(Kept::ByOthers(note));
    }
    let (_, service) = put_unit(DOCKER[0])?;
    let (path, done) = put_unit(DOCKER[1])?;
    let mut calls: Vec<&[&str]> =
        vec![&["daemon-reload"], &["--quiet", "enable", "--now", "flatnet-docker.socket"]];
    if renewed || service == Done::Replaced {
        calls.push(&["try-restart", "flatnet-docker.service"]);
    }
    Ok(match calls.into_iter().try_for_each(systemctl) {
        Ok(()) => Kept::ByUnit(path, done),
        Err(problem) => Kept::Not(format!("nothing serves Docker: {problem}")),
    })
}

/// Puts a unit in place, unless there is one that was not written here.
fn put_unit((name, text): Unit) -> Result<(PathBuf, Done), CommandError> {
    if let Some(path) = foreign(&FOLDERS.map(Path::new), name) {
        return Ok((path, Done::Unchanged));
    }
    let folder = Path::new(FOLDERS[0]);
    let text = format!("{MARK}{text}");
    Ok((folder.join(name), put(folder, name, text.as_bytes(), 0o644)?))
}

/// systemd, and one whose services run in this network namespace.
fn systemd_runs() -> bool {
    let netns = |process: &str| Some(fs::metadata(format!("/proc/{process}/ns/net")).ok()?.ino());
    Path::new("/run/systemd/system").is_dir() && netns("1") == netns("self")
}

fn by_hand(bin_dir: &Path, conf_dir: &Path) -> String {
    let command = by_hand_with(&bin_dir.join("flatnet"), " sync --watch", conf_dir);
    format!("what keeps the network is `{command}`: have your supervisor run it, also at boot")
}

fn by_hand_with(program: &Path, words: &str, conf_dir: &Path) -> String {
    let mut command = format!("{}{words}", program.display());
    if conf_dir != Path::new(CONF_DIR) {
        command += &format!(" --conf-dir {}", conf_dir.display());
    }
    command
}

/// The unit of that name that was not written here. A link to nowhere, which masks it, is one too.
fn foreign(folders: &[&Path], name: &str) -> Option<PathBuf> {
    let paths = folders.iter().map(|folder| folder.join(name));
    let mut there = paths.filter(|path| path.symlink_metadata().is_ok());
    there.find(|path| !fs::read(path).is_ok_and(|text| text.starts_with(EARLIER.as_bytes())))
}

fn systemctl(arguments: &[&str]) -> Result<(), String> {
    let called = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run `{called}`: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "`{called}`: {}, {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const UNIT: &str = SYNC.0;

    #[test]
    fn a_unit_written_by_hand_is_found_and_ours_is_not() {
        let root = tempfile::tempdir().unwrap();
        let [etc, usr] = ["etc", "usr"].map(|name| root.path().join(name));
        let folders = [etc.as_path(), usr.as_path()];
        assert_eq!(foreign(&folders, UNIT), None);
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&usr).unwrap();
        fs::write(etc.join(UNIT), format!("{MARK}[Unit]\n")).unwrap();
        assert_eq!(foreign(&folders, UNIT), None);
        fs::write(usr.join(UNIT), SYNC.1).unwrap();
        assert_eq!(foreign(&folders, UNIT), Some(usr.join(UNIT)), "the package's");
        fs::write(etc.join(UNIT), "[Service]\n").unwrap();
        assert_eq!(foreign(&folders, UNIT), Some(etc.join(UNIT)), "an administrator's");
        fs::remove_file(etc.join(UNIT)).unwrap();
        symlink("/dev/null", etc.join(UNIT)).unwrap();
        assert_eq!(foreign(&folders, UNIT), Some(etc.join(UNIT)), "masked");
    }

    #[test]
    fn other_folders_are_kept_by_another_command() {
        let kept = keep(Path::new("/opt/cni/bin"), Path::new("/opt/cni/config"), false).unwrap();
        let Kept::ByOthers(note) = kept else { panic!("{kept:?}") };
        let command = "`/opt/cni/bin/flatnet sync --watch --conf-dir /opt/cni/config`";
        assert!(note.contains(command), "{note}");
    }
}
