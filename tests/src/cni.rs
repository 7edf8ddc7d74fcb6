//! A driver that calls a CNI executable as a container runtime does: an environment with nothing
//! but the protocol's variables, the configuration on standard input, one JSON document back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use crate::netns::Netns;
use crate::program::{Running, bin_dir, ours, said};

/// One call of the executable, changed step by step by a test that wants it otherwise.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    node: &'a Netns,
    program: PathBuf,
    env: BTreeMap<String, String>,
    stdin: Vec<u8>,
}

impl<'a> Call<'a> {
    /// A call of `verb` on a node with this configuration and no attachment variables.
    pub fn new(node: &'a Netns, verb: &str, configuration: &Value) -> Self {
        let env = [("CNI_COMMAND", verb.to_owned()), ("CNI_PATH", bin_dir().display().to_string())];
        Self {
            node,
            program: ours("flatnet"),
            env: env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            stdin: configuration.to_string().into_bytes(),
        }
    }

    /// Calls another executable than flatnet.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Names the attachment: container ID, namespace file, interface in the container.
    pub fn attachment(self, container_id: &str, netns: &Path, ifname: &str) -> Self {
        self.env("CNI_CONTAINERID", container_id)
            .env("CNI_NETNS", &netns.display().to_string())
            .env("CNI_IFNAME", ifname)
    }

    /// Sets one variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes one variable away.
    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    /// Replaces standard input, byte for byte.
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Calls the executable in the node's namespace.
    pub fn run(&self) -> Outcome {
        self.start().end()
    }

    /// Starts the call, to wait for its end later.
    pub fn start(&self) -> Started {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(&self.env);
        let running = self.node.run(|| Running::start(&mut command, &self.stdin));
        Started { call: format!("{:?}", self.env), running }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Started {
    call: String,
    running: Running,
}

impl Started {
    /// Waits for its end; a hang fails the test.
    pub fn end(self) -> Outcome {
        Outcome { call: self.call, output: self.running.end() }
    }

    /// The same for one that must end sooner.
    pub fn end_within(self, deadline: Duration) -> Outcome {
        Outcome { call: self.call, output: self.running.end_within(deadline) }
    }
}

/// What came back from one call.
#[derive(Debug)]
pub struct Outcome {
    call: String,
    output: Output,
}

/// An error object of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    /// The version the caller spoke, as the error repeats it.
    pub version: String,
    /// The code: below 100 the specification's, from 100 ours.
    pub code: u64,
    /// What was wrong.
    pub msg: String,
    /// More of it, where there is more.
    pub details: String,
}

impl Outcome {
    /// How the process ended.
    pub fn status(&self) -> ExitStatus {
        self.output.status
    }

    /// What it logged.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The document of a call that must have succeeded with one.
    pub fn result(&self) -> Value {
        assert!(self.status().success(), "{} failed: {}", self.call, said(&self.output));
        self.document()
    }

    /// Asserts success without a word on standard output, as DEL must.
    pub fn silent(&self) {
        assert!(self.status().success(), "{} failed: {}", self.call, said(&self.output));
        assert!(self.output.stdout.is_empty(), "{} printed: {}", self.call, said(&self.output));
    }

    /// The error object of a call that must have failed.
    pub fn error(&self) -> CniError {
        assert!(!self.status().success(), "{} succeeded: {}", self.call, said(&self.output));
        assert!(self.status().code().is_some(), "{} was killed: {}", self.call, said(&self.output));
        let document = self.document();
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        CniError {
            version: text("cniVersion"),
            code: document["code"].as_u64().unwrap_or_else(|| panic!("no code in {document}")),
            msg: text("msg"),
            details: text("details"),
        }
    }

    /// The one JSON object on standard output; anything else beside it fails the test.
    fn document(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.output.stdout).unwrap_or_else(|error| {
            panic!("{}: not one JSON document: {error}: {}", self.call, said(&self.output))
        });
        assert!(value.is_object(), "{}: not an object: {value}", self.call);
        value
    }
}
