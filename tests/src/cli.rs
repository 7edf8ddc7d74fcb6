//! The commands for people, as an administrator calls them on a node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::files::replace;
use crate::node::Node;
use crate::program::{bin_dir, ours, said};

/// The folder of the node's network configurations, written again: its network, with other plugins
/// of the chain behind it.
pub fn conf_dir(node: &Node, others: &[Value]) -> PathBuf {
    let folder = node.network.state_dir.with_file_name(format!("{}.net.d", node.name));
    fs::create_dir_all(&folder).expect("a configuration folder");
    let plugin = &node.network.configuration;
    let plugins: Vec<&Value> = [plugin].into_iter().chain(others).collect();
    // The reference plugins of Debian do not speak 1.1.0.
    let version = if others.is_empty() { plugin["cniVersion"].clone() } else { json!("1.0.0") };
    let list = json!({
        "cniVersion": version, "name": plugin["name"], "plugins": plugins,
    });
    replace(&folder.join("10-pods.conflist"), &list.to_string());
    folder
}

/// Runs `flatnet COMMAND ARGS` with the node's network in a configuration folder of its own.
pub fn flatnet(node: &Node, command: &str, args: &[&str]) -> Output {
    let folder = conf_dir(node, &[]);
    run(node, command, &[&["--conf-dir", &folder.display().to_string()], args].concat())
}

/// Runs `flatnet COMMAND ARGS` on a node.
pub fn run(node: &Node, command: &str, args: &[&str]) -> Output {
    node.netns.finish(&mut prepared(command, args), b"")
}

/// `flatnet COMMAND ARGS`, to be started in a node's namespace.
pub fn prepared(command: &str, args: &[&str]) -> Command {
    let mut program = Command::new(ours("flatnet"));
    program.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg(command).args(args);
    program
}

/// What a command printed; fails the test unless it ended with this exit code.
pub fn text(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The document that a command printed; fails the test unless it ended with this exit code.
pub fn document(output: &Output, code: i32) -> Value {
    serde_json::from_str(&text(output, code)).expect("one JSON document")
}

/// What `flatnet doctor` finds wrong with the node's network.
pub fn findings(node: &Node) -> Vec<Value> {
    findings_in(node, &conf_dir(node, &[]), &bin_dir())
}

/// What `flatnet doctor` finds with these folders of configurations and plugins. Fails the test unless
/// everything could be looked at, and the exit code says whether anything was found.
pub fn findings_in(node: &Node, conf_dir: &Path, bin: &Path) -> Vec<Value> {
    let (conf_dir, bin) = (conf_dir.display().to_string(), bin.display().to_string());
    let output = run(node, "doctor", &["--json", "--conf-dir", &conf_dir, "--cni-bin-dir", &bin]);
    let code = output.status.code().unwrap_or_else(|| panic!("{}", said(&output)));
    let document = document(&output, code);
    assert_eq!(document["failures"], json!([]), "{}", said(&output));
    let findings = document["findings"].as_array().expect("a list").clone();
    assert_eq!(code, i32::from(!findings.is_empty()), "{}", said(&output));
    findings
}

/// Where a packet ends, as `flatnet trace` tells: the stations it passes, and the end.
pub fn trace(node: &Node, from: &str, to: &str, code: i32) -> (Vec<String>, Value) {
    let document = document(&flatnet(node, "trace", &[from, to, "--json"]), code);
    let hops = document["hops"].as_array().expect("a list").iter();
    let at = hops.map(|hop| hop["at"].as_str().expect("a station").to_owned());
    (at.collect(), document["end"].clone())
}
