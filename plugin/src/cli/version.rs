//! The question VERSION of the protocol, put to a plugin that may be anything: it gets a little time,
//! and little of what it says is listened to.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use flatnet_conf::one_line;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// A plugin takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer has some hundred bytes.
const LONGEST: usize = 64 << 10;

/// The versions that a plugin speaks, as it lists them.
///
/// # Errors
/// It cannot be run, or does not answer: why, in one line.
pub fn spoken(executable: &Path) -> Result<Vec<String>, String> {
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let mut child = Command::new(executable)
        .env("CNI_COMMAND", "VERSION")
        // Some want these with every command.
        .env("CNI_CONTAINERID", "dummy")
        .env("CNI_NETNS", "dummy")
        .env("CNI_IFNAME", "dummy")
        .env("CNI_PATH", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What it starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("it cannot be run: {e}"))?;
    let answer = hear(&mut child);
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself; its number is its own until it is waited for.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait();
    versions(&answer?)
}

/// What it says, until that is a document, it ends, or patience does.
fn hear(child: &mut Child) -> Result<Vec<u8>, String> {
    let failed = |e: io::Error| format!("it cannot be heard: {e}");
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds. One that does not read it need not.
        let _ = stdin.write_all(br#"{"cniVersion":"1.1.0"}"#);
    }
    let Some(mut stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let deadline = Instant::now() + PATIENCE;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while speaks(&stdout, deadline)? {
        let read = stdout.read(&mut part).map_err(failed)?;
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        if answer.len() > LONGEST {
            return Err(format!("it says more than {LONGEST} bytes"));
        }
        if read == 0 || serde_json::from_slice::<Value>(&answer).is_ok() {
            return Ok(answer);
        }
    }
    Err(format!("it does not answer within {PATIENCE:?}"))
}

fn speaks(stdout: &ChildStdout, deadline: Instant) -> Result<bool, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("it cannot be heard: {errno}")),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

fn versions(answer: &[u8]) -> Result<Vec<String>, String> {
    let document: Value = serde_json::from_slice(answer).unwrap_or_default();
    if let Some(list) = document.get("supportedVersions").and_then(Value::as_array) {
        return Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    match document.get("msg").and_then(Value::as_str) {
        // VERSION came with 0.2.0.
        Some(words) if words.contains("unknown CNI_COMMAND") => Ok(vec!["0.1.0".to_owned()]),
        Some(words) => Err(one_line(words)),
        None => Err("it answers VERSION with no list of versions".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(folder: &Path, script: &str) -> Result<Vec<String>, String> {
        let path = folder.join("plugin");
        // Another process writes it: what is open for writing here is so in a child that another test has just begun, too,
        // and such a file is not run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 755 "$0""#;
        let written = Command::new("sh").args(["-c", write]).arg(&path).arg(script).status();
        assert!(written.unwrap().success());
        spoken(&path)
    }

    #[test]
    fn an_answer_is_a_list_of_versions() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = |script: &str| plugin(folder.path(), script);
        let answer = r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'"#;
        let versions = Ok(vec!["0.4.0".to_owned(), "1.0.0".to_owned()]);
        assert_eq!(
            plugin(&format!("test $CNI_COMMAND = VERSION && cat >/dev/null && {answer}")),
            versions
        );
        // One that goes on, or leaves a child that holds its output, has answered all the same.
        let begun = Instant::now();
        assert_eq!(plugin(&format!("{answer}; exec sleep 60")), versions);
        assert_eq!(plugin(&format!("sleep 60 & {answer}")), versions);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        let old = r#"echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1"#;
        assert_eq!(plugin(old), Ok(vec!["0.1.0".to_owned()]));
    }

    #[test]
    fn one_without_an_answer_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let told = |script: &str| plugin(folder.path(), script).unwrap_err();
        assert_eq!(told(r#"echo '{"code":4,"msg":"a\u001bb"}'"#), "a\\u{1b}b");
        assert_eq!(told("exit 1"), "it answers VERSION with no list of versions");
        assert_eq!(told("exec yes"), "it says more than 65536 bytes");
        assert!(spoken(&folder.path().join("none")).unwrap_err().starts_with("it cannot be run: "));
    }

    #[test]
    fn one_that_hangs_is_left_alone_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let said = plugin(folder.path(), "exec sleep 60").unwrap_err();
        assert_eq!(said, "it does not answer within 2s");
        assert!(begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
    }
}
