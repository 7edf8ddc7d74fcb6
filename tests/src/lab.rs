//! `flatnet lab` in a test: a lab that goes with the test, whatever becomes of that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::{finish, ours, require_root, said};
use crate::wait::PATIENCE;

/// A lab of this test process, removed when dropped.
#[derive(Debug)]
pub struct Lab {
    /// The first part of its namespaces' names.
    pub name: String,
}

impl Lab {
    /// Nothing is made yet; `label` is one letter or two.
    pub fn new(label: &str) -> Self {
        require_root();
        Self { name: format!("t{}{label}", std::process::id()) }
    }

    /// `flatnet lab VERB ... --name NAME` with an empty environment: it needs no other program.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ours("flatnet"));
        command.env_clear().arg("lab").args(args).args(["--name", &self.name]);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(&mut self.command(args), b"")
    }

    /// The same, asserting success; returns what it printed.
    pub fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text output")
    }

    /// The namespaces that bear the lab's name.
    pub fn namespaces(&self) -> BTreeSet<String> {
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&format!("{}-", self.name))).collect()
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> PathBuf {
        Path::new("/run/flatnet-lab").join(&self.name)
    }

    /// Fails the test if anything of it is left.
    pub fn assert_gone(&self) {
        assert_eq!(self.namespaces(), BTreeSet::new());
        assert!(!self.folder().exists());
    }

    /// Starts `up` and waits until the first node stands, so that it is half way.
    pub fn start_up(&self) -> Child {
        let mut up = self.command(&["up", "--nodes", "12", "--pods", "8"]);
        let child = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start up");
        let first = format!("{}-node-1", self.name);
        let deadline = Instant::now() + PATIENCE;
        while !self.namespaces().contains(&first) {
            assert!(Instant::now() < deadline, "no node within {PATIENCE:?}");
            sleep(Duration::from_millis(1));
        }
        child
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}
