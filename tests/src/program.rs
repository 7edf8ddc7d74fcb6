//! Where the programs are that the tests run, and how one of them is run to its end: bounded in
//! time, with everything it said kept for the failure message.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::wait::PATIENCE;

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Fails unless the tests run as root: namespaces cannot be made otherwise.
pub fn require_root() {
    assert!(Uid::effective().is_root(), "the end-to-end tests need root: run `make test`");
}

/// The folder of the built executables: `FLATNET_BIN_DIR`, else `target/release`.
pub fn bin_dir() -> PathBuf {
    let dir = std::env::var_os("FLATNET_BIN_DIR")
        .map_or_else(|| workspace().join("target/release"), PathBuf::from);
    dir.canonicalize().unwrap_or(dir)
}

/// One of our own executables.
pub fn ours(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(path.is_file(), "{} is not there: build it with `make build`", path.display());
    path
}

/// A program of the system, or one that `.ci/install test` built into `target/tools`.
pub fn system(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([workspace().join("target/tools"), "/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `.ci/install test`"))
}

/// The folder of the reference plugins (`portmap` and others).
pub fn reference_plugins() -> PathBuf {
    ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| folder.join("portmap").is_file())
        .expect("the reference CNI plugins are not installed: run `.ci/install test`")
}

/// Runs a command with `stdin` to the end of its output, as libcni does: a child that outlives it
/// and keeps standard output open counts as a hang.
pub fn finish(command: &mut Command, stdin: &[u8]) -> Output {
    Running::start(command, stdin).end()
}

/// Runs a command that must succeed, and returns what it wrote to standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = finish(command, b"");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A command that runs; killed when dropped before its end.
#[derive(Debug)]
pub struct Running {
    shown: String,
    pid: Pid,
    output: Receiver<io::Result<Output>>,
}

impl Running {
    /// Starts a command with `stdin`.
    pub fn start(command: &mut Command, stdin: &[u8]) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let mut pipe = child.stdin.take().expect("a piped stdin");
        let input = stdin.to_vec();
        // A program that never reads its input (VERSION need not) closes the pipe: not our failure.
        thread::spawn(move || drop(pipe.write_all(&input)));
        let (sender, output) = mpsc::channel();
        thread::spawn(move || drop(sender.send(child.wait_with_output())));
        Self { shown, pid, output }
    }

    /// Waits for its end; a hang fails the test.
    pub fn end(self) -> Output {
        self.end_within(PATIENCE)
    }

    /// The same for one that must end sooner.
    pub fn end_within(self, deadline: Duration) -> Output {
        let Ok(output) = self.output.recv_timeout(deadline) else {
            panic!("{} did not end, or kept its output open, for {deadline:?}", self.shown);
        };
        output.unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.shown))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whose output came has been waited for, so its number may be another's now.
        if matches!(self.output.try_recv(), Err(TryRecvError::Empty)) {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Makes a file an executable of these bytes. Another process writes it: a file is not run as long as it is open for
/// writing, and what is open here is open too in a child that another test has begun and that does not run its program yet.
pub fn executable(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut write = command("sh", ["-c", "cat >\"$0\""]);
    let output = finish(write.arg(path), bytes.as_ref());
    assert!(output.status.success(), "{}: {}", path.display(), said(&output));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

/// What a command said on both streams, for a failure message.
pub fn said(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A command for a program of the system, in the namespace of the calling thread.
pub fn command<I: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(system(name));
    command.args(args);
    command
}
