//! kubectl, as the administrator of a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flatnet_tests::netns::{Netns, inside};
use flatnet_tests::program::{Running, said};
use serde_json::{Value, json};

use crate::patience::check_interrupted;
use crate::tools;

/// Longer than kubectl is ever asked to wait.
const DEADLINE: Duration = Duration::from_secs(200);
/// How long it waits for a condition, as it wants to be told.
const PATIENCE: &str = "--timeout=150s";

/// Whom to ask, and with whose rights.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    netns: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// kubectl in a namespace, with a kubeconfig.
    pub fn new(netns: &Netns, kubeconfig: &Path) -> Self {
        Self {
            program: tools::kubernetes().join("kubectl"),
            netns: netns.path(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// Whose rights it has.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs a command; what it prints, or what went wrong.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        self.run_with(args, "")
    }

    /// Runs a command that must succeed.
    pub fn must(&self, args: &[&str]) -> String {
        self.run(args).unwrap_or_else(|error| panic!("kubectl {}: {error}", args.join(" ")))
    }

    /// Objects as JSON: one by its name, or a list.
    ///
    /// # Errors
    /// What kubectl said.
    pub fn get(&self, what: &[&str]) -> Result<Value, String> {
        let text = self.run(&[&["get", "--output=json"], what].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The same, where it must succeed: the objects of a list, or the one.
    pub fn objects(&self, what: &[&str]) -> Vec<Value> {
        let got = self.get(what).unwrap_or_else(|error| panic!("get {what:?}: {error}"));
        got["items"].as_array().cloned().unwrap_or_else(|| vec![got])
    }

    /// Makes objects as they are described.
    pub fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.run_with(&["apply", "--filename=-"], &list.to_string())
            .unwrap_or_else(|error| panic!("kubectl apply: {error}"));
    }

    /// Removes objects and waits until they are gone.
    pub fn delete(&self, what: &[&str]) {
        self.must(&[&["delete", "--wait=true", PATIENCE], what].concat());
    }

    /// Waits for a condition, as `kubectl wait` has it (`condition=Ready`).
    pub fn wait(&self, condition: &str, what: &[&str]) {
        self.must(&[&["wait", PATIENCE, &format!("--for={condition}")], what].concat());
    }

    /// Waits until all pods of something are as its template says, and ready.
    pub fn rolled_out(&self, what: &str) {
        self.rolled_out_in("default", what);
    }

    /// The same in another namespace.
    pub fn rolled_out_in(&self, namespace: &str, what: &str) {
        self.must(&["--namespace", namespace, "rollout", "status", PATIENCE, what]);
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        check_interrupted();
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        // It keeps what it has learnt about an API server in a cache there.
        command.env_clear().env("HOME", self.kubeconfig.with_extension("home"));
        let start = || Running::start(&mut command, stdin.as_bytes()).end_within(DEADLINE);
        let output = inside(&self.netns, start);
        if !output.status.success() {
            return Err(said(&output));
        }
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    }
}
