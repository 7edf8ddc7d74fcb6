//! One process from start to end, timed as the caller sees it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flatnet_tests::program::said;

/// What to run: an absolute path, its arguments, nothing in the environment but what is given.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Its standard input.
    pub stdin: Vec<u8>,
}

impl Program {
    /// A program with arguments and no input.
    pub fn new<A: Into<String>>(path: &Path, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { path: path.to_owned(), args, env: BTreeMap::new(), stdin: Vec::new() }
    }

    /// The same program below another one (`strace`, `valgrind`), which gets its own arguments
    /// first.
    pub fn under<A: Into<String>>(self, path: &Path, args: impl IntoIterator<Item = A>) -> Self {
        let own = [self.path.display().to_string()].into_iter().chain(self.args);
        let args = args.into_iter().map(Into::into).chain(own).collect();
        Self { path: path.to_owned(), args, ..self }
    }

    /// Runs it in the namespace of the calling thread, from before its start until it is reaped.
    /// Fails the run unless it succeeds.
    pub fn run(&self) -> Duration {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().envs(&self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        // All that goes either way fits into a pipe, so neither process waits for the other.
        let written = child.stdin.take().expect("a piped stdin").write_all(&self.stdin);
        let mut stdout = Vec::new();
        let read = child.stdout.take().expect("a piped stdout").read_to_end(&mut stdout);
        let status = child.wait().expect("wait for a child");
        let elapsed = start.elapsed();
        if !status.success() || written.is_err() || read.is_err() {
            let mut stderr = Vec::new();
            let _ = child.stderr.take().expect("a piped stderr").read_to_end(&mut stderr);
            let output = Output { status, stdout, stderr };
            panic!("{} {:?}: {}", self.path.display(), self.args, said(&output));
        }
        elapsed
    }
}

/// A duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Waits until the kernel has finished what it goes on with after a device is gone: what comes next
/// shall not pay for it.
pub fn rest() {
    sleep(Duration::from_millis(30));
}
