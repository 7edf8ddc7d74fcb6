//! `flatnet sync --watch` as it runs on a node.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;

use crate::cli;
use crate::node::Node;
use crate::wait::{PATIENCE, again, wait_for};

/// The running command; ended when dropped.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    output: PathBuf,
}

impl Watcher {
    /// Starts it on a node.
    pub fn start(node: &Node) -> Self {
        Self::spawn(node, "watch", |_| {})
    }

    /// Starts one that can print nothing: its disk is full.
    pub fn full(node: &Node) -> Self {
        let full = File::create("/dev/full").expect("open /dev/full");
        Self::spawn(node, "full", |command| {
            command.stdout(full);
        })
    }

    /// Starts one of several on a node, which are told apart by their names; it has looked at everything when this returns.
    pub fn ready(node: &Node, name: &str) -> Self {
        let socket = node.network.state_dir.with_file_name(format!("{}.{name}.notify", node.name));
        let told = UnixDatagram::bind(&socket).expect("a socket");
        told.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let watcher = Self::spawn(node, name, |command| {
            command.env("NOTIFY_SOCKET", &socket);
        });
        let mut word = [0; 64];
        let length = again(|| told.recv(&mut word)).expect("word that it is ready");
        assert!(word[..length].starts_with(b"READY=1"), "{word:?}");
        watcher
    }

    fn spawn(node: &Node, name: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let output = node.network.state_dir.with_file_name(format!("{}.{name}", node.name));
        let file = File::create(&output).expect("a file for the output");
        let folder = cli::conf_dir(node, &[]).display().to_string();
        let mut command = cli::prepared("sync", &["--watch", "--conf-dir", &folder]);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a descriptor")).stderr(file);
        prepare(&mut command);
        let child = node.netns.run(|| command.spawn()).expect("start the watcher");
        Self { child, output }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process ID"))
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("the output")
    }

    /// Waits until it has printed these words.
    pub fn says(&self, words: &str) {
        wait_for(words, || self.said().contains(words).then_some(()));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
