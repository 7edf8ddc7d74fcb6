//! Another plugin's executable, called by the protocol of CNI.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::error::Error;

/// An executable, and what it finds in its environment beside what we find in ours.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Executable {
    /// The first of that name in these folders, as `CNI_PATH` has them.
    pub fn find(name: &str, folders: &[PathBuf]) -> Option<Self> {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| is_executable(file))
            .map(Self::at)
    }

    /// The one that is there.
    pub fn at(path: PathBuf) -> Self {
        Self { path, environment: Vec::new() }
    }

    /// The same with more in its environment.
    pub fn with(self, environment: Vec<(&'static str, OsString)>) -> Self {
        Self { environment, ..self }
    }

    /// Whether it is the one that runs now, by whatever name.
    pub fn is_this(&self) -> bool {
        let file = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
        let this = file(Path::new("/proc/self/exe"));
        this.is_some() && this == file(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls it with this `CNI_COMMAND` and this on standard input. Returns what it printed.
    ///
    /// # Errors
    /// The plugin's own, or that it cannot be run.
    pub fn call(&self, command: &str, input: &[u8]) -> Result<Vec<u8>, Error> {
        let output = self.execute(command, input).map_err(|source| Error::File {
            action: "run",
            path: self.path.display().to_string(),
            source,
        })?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failure(&output)) }
    }

    fn execute(&self, command: &str, input: &[u8]) -> std::io::Result<Output> {
        let mut child = Command::new(&self.path);
        child.env("CNI_COMMAND", command).envs(self.environment.iter().cloned());
        child.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and
        // changes nothing but the child itself.
        unsafe {
            // A runtime that gives up kills us alone; what we have started must not go on.
            child.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = child.spawn()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // Beside the reading, so that neither side waits for the other with a full pipe. A
            // plugin that does not read its input to the end has its reasons.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        })
    }

    /// The plugin's error object, or what can be said without one.
    fn failure(&self, output: &Output) -> Error {
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        match object.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok()) {
            Some(code) => Error::Delegate {
                code,
                message: text("msg").into(),
                details: text("details").into(),
            },
            None => Error::Delegate {
                code: flatnet_conf::Code::Io as u32,
                message: format!(
                    "{} failed ({}) and printed no error object",
                    self.path.display(),
                    output.status
                ),
                details: String::from_utf8_lossy(&output.stdout).into_owned(),
            },
        }
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
