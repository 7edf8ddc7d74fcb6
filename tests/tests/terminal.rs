//! What a person sees at a terminal and a script does not: colours, progress, tables that fit.

use std::process::{Command, Output};

use flatnet_tests::cli::{conf_dir, flatnet, prepared};
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::lab::Lab;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::said;
use flatnet_tests::terminal;
use serde_json::{Value, json};

/// What begins a colour.
const ESCAPE: &str = "\x1b[";

/// A command about the node's network, as a person's shell starts it.
fn at_node(node: &Node, command: &str, args: &[&str]) -> Command {
    let folder = conf_dir(node, &[]).display().to_string();
    let mut command = prepared(command, &[args, &["--conf-dir", &folder]].concat());
    command.env("TERM", "xterm");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Runs what `prepare` makes, on a node: at a terminal, there with NO_COLOR, and not at one.
fn thrice(node: &Node, prepare: impl Fn() -> Command) -> [String; 3] {
    let (mut plain, mut with, mut piped) = (prepare(), prepare(), prepare());
    with.env("NO_COLOR", "1");
    [
        stdout(&node.netns.run(|| terminal::run(&mut plain, 200))),
        stdout(&node.netns.run(|| terminal::run(&mut with, 200))),
        stdout(&node.netns.finish(&mut piped, b"")),
    ]
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    cluster.nodes[1].netns.exec(&format!("ip link set {UNDERLAY} down"));
    let help = || {
        let mut command = prepared("--help", &[]);
        command.env("TERM", "xterm");
        command
    };
    let from = pod.container_id.clone();
    let commands: [(&str, &dyn Fn() -> Command); 4] = [
        ("help", &help),
        ("trace", &|| at_node(node, "trace", &[&from, "10.244.2.1"])),
        ("probe", &|| at_node(node, "probe", &[])),
        ("doctor", &|| at_node(node, "doctor", &["--cni-bin-dir", "/nonexistent"])),
    ];
    for (name, prepare) in commands {
        let [coloured, without, piped] = thrice(node, prepare);
        assert!(coloured.contains(ESCAPE), "{name}: {coloured:?}");
        assert!(!without.contains(ESCAPE), "{name} with NO_COLOR: {without:?}");
        assert!(!piped.contains(ESCAPE), "{name} into a pipe: {piped:?}");
        assert!(piped.lines().count() > 2, "{name}: {piped}");
    }
}

#[test]
fn tables_fit_the_terminal_and_a_pipe_has_a_line_for_each_pod() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let name = "a-deployment-with-a-long-name-5d78c9869d-abcde";
    let mut pod = Pod::new("pod");
    let args = format!("K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME={name};IgnoreUnknown=1");
    pod.result = node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    node.netns.exec(&format!("ip neigh del {} dev {}", pod.v4(), pod.veth()));

    let piped = stdout(&flatnet(node, "list", &[]));
    let row = piped.lines().nth(1).expect("a row");
    let addresses = format!("{}, {}", pod.v4(), pod.v6());
    for word in [name, &addresses, pod.veth(), "drifted: 1 change to make"] {
        assert!(row.contains(word), "{word} in {row}");
    }
    let mut command = at_node(node, "list", &[]);
    let shown = stdout(&node.netns.run(|| terminal::run(&mut command, 80)));
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shown.lines().count() > 2, "{shown}");
    for word in
        [&pod.v4().to_string(), &pod.v6().to_string(), pod.veth(), "kube-system/", "drifted:"]
    {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    let mut command = at_node(node, "list", &[]);
    let wide = stdout(&node.netns.run(|| terminal::run(&mut command, 200)));
    assert_eq!(wide.lines().count(), 2, "{wide}");
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

#[test]
fn a_lab_of_many_nodes_says_how_far_it_is() {
    let lab = Lab::new("y");
    let up = terminal::run(&mut lab.command(&["up", "--nodes", "20", "--pods", "1"]), 80);
    assert!(up.status.success(), "{}", said(&up));
    let progress = String::from_utf8(up.stderr).expect("text");
    let steps = |what: &str| (1..=20).map(|n| format!("{what} {n} of 20")).collect::<Vec<_>>();
    let end = || vec!["\u{1b}[K".to_owned()];
    let expected = [steps("node"), end(), steps("pod"), end()].concat();
    assert_eq!(progress.split('\r').skip(1).collect::<Vec<_>>(), expected);

    let down = lab.run(&["down"]);
    assert!(down.status.success() && down.stderr.is_empty(), "no terminal: {}", said(&down));
}
