//! What a person sees at a terminal and a script does not: how far long work is.

use std::process::Command;

use flatnet_tests::cli::{conf_dir, prepared};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::Node;
use flatnet_tests::program::said;
use flatnet_tests::terminal;
use serde_json::{Value, json};

/// A command about the node's network, as a person's shell starts it.
fn at_node(node: &Node, command: &str, args: &[&str]) -> Command {
    let folder = conf_dir(node, &[]).display().to_string();
    let mut command = prepared(command, &[args, &["--conf-dir", &folder]].concat());
    command.env("TERM", "xterm");
    command
}

/// The first node of a cluster and so many peers that are nowhere.
fn range_file(node: &Node, peers: usize) -> Value {
    let peer = |n: usize| {
        let (high, low) = (n / 250, n % 250);
        json!({
            "name": format!("peer-{n}"),
            "vtep": format!("192.168.{}.{}", 60 + high, low + 1),
            "ranges": [format!("10.{}.{low}.0/24", 100 + high)],
        })
    };
    let nodes: Vec<Value> = std::iter::once(node.entry()).chain((0..peers).map(peer)).collect();
    json!({ "version": 1, "vni": 4096, "nodes": nodes })
}

#[test]
fn a_sync_of_thousands_of_peers_says_how_far_it_is() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.netns.exec(&format!("ip route add 192.168.0.0/16 dev {UNDERLAY}"));
    let sync = |at_terminal: bool| {
        let mut command = at_node(node, "sync", &[]);
        let output = match at_terminal {
            true => node.netns.run(|| terminal::run(&mut command, 80)),
            false => node.netns.finish(&mut command, b""),
        };
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stderr).expect("text")
    };
    cluster.write_range_file(&range_file(node, 100));
    assert_eq!(sync(true), "", "nothing of what is done at once");

    cluster.write_range_file(&range_file(node, 2000));
    let progress = sync(true);
    let steps: Vec<&str> = progress.split('\r').skip(1).collect();
    // A route, a neighbour entry and an FDB entry for each new peer.
    let expected = ["change 1000 of 5700", "change 2000 of 5700", "change 3000 of 5700"];
    assert_eq!(steps[..3], expected, "{progress:?}");
    assert_eq!(
        steps[3..],
        ["change 4000 of 5700", "change 5000 of 5700", "\x1b[K"],
        "{progress:?}"
    );
    assert_eq!(sync(true), "", "nothing to do");

    cluster.write_range_file(&range_file(node, 0));
    assert_eq!(sync(false), "", "no terminal");
}
