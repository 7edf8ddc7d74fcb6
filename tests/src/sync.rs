//! `flatnet sync` on a node, as an administrator calls it.

use std::process::Output;

use crate::cli::flatnet;
use crate::node::Node;
use crate::program::said;

/// Runs `flatnet sync` with the node's network in a configuration folder of its own.
pub fn sync(node: &Node, args: &[&str]) -> Output {
    flatnet(node, "sync", args)
}

/// The changes that `flatnet sync --dry-run` tells, without indentation; the pods' are after those
/// of the node.
pub fn plan(node: &Node) -> Vec<String> {
    let output = sync(node, &["--dry-run"]);
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let changes: Vec<String> = text.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    let expected = if changes.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{}", said(&output));
    changes
}

/// Applies the difference; fails the test unless that succeeds. Returns what was printed.
pub fn apply(node: &Node) -> String {
    let output = sync(node, &[]);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}
