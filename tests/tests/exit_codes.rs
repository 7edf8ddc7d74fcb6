//! The exit code of every command for people: 0 fine, 1 a finding, 2 could not look or not understood;
//! and with `--json` one document, whatever was found.

use std::fs;
use std::process::{Command, Output, Stdio};

use flatnet_tests::cli::{conf_dir, run};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::lab::Lab;
use flatnet_tests::node::Node;
use flatnet_tests::program::{bin_dir, command, finish, ours, said};
use serde_json::Value;

/// Runs `flatnet LINE` on a node; fails the test unless it ends with that exit code. 2 has its reason
/// on standard error, and otherwise `--json` prints one document.
fn ends(node: &Node, line: &str, code: i32) -> String {
    let mut words = line.split_whitespace();
    let command = words.next().expect("a command");
    let args: Vec<&str> = words.collect();
    judge(&run(node, command, &args), line, code)
}

fn judge(output: &Output, line: &str, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{line}: {}", said(output));
    let printed = String::from_utf8(output.stdout.clone()).expect("text");
    if code == 2 {
        assert!(!output.stderr.is_empty(), "{line}");
    } else if line.contains("--json") {
        let document: Result<Value, _> = serde_json::from_str(&printed);
        assert!(document.is_ok(), "{line}: {}", said(output));
        assert!(output.stderr.is_empty(), "{line}: {}", said(output));
    }
    printed
}

/// Both for people and for scripts.
fn both(node: &Node, line: &str, code: i32) {
    ends(node, line, code);
    ends(node, &format!("{line} --json"), code);
}

#[test]
fn commands_about_the_networks_of_a_node() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let (pod, _peer) = (node.add("pod"), cluster.nodes[1].add("peer"));
    let folder = conf_dir(node, &[]).display().to_string();
    let bin = bin_dir().display().to_string();
    let trace = format!("trace {} 10.244.2.1", pod.v4());
    let doctor = format!("doctor --cni-bin-dir {bin}");
    let commands =
        ["status", "list", "sync --dry-run", "sync", "probe", "probe --pods", &trace, &doctor];
    for command in commands {
        both(node, &format!("{command} --conf-dir {folder}"), 0);
    }

    node.netns.exec("ip neigh del 10.244.2.0 dev flat.4096");
    node.netns.exec(&format!("ip neigh del {} dev {}", pod.v4(), pod.veth()));
    for command in commands.iter().filter(|command| **command != "sync") {
        both(node, &format!("{command} --conf-dir {folder}"), 1);
    }
    // What it finds it puts right.
    both(node, &format!("sync --conf-dir {folder}"), 0);
    ends(node, &format!("status --conf-dir {folder}"), 0);

    for command in commands.iter().filter(|command| **command != doctor) {
        both(node, &format!("{command} --conf-dir /nonexistent"), 2);
        both(node, &format!("{command} --no-such-option"), 2);
    }
    // That there is no configuration is what the doctor is for.
    both(node, &format!("{doctor} --conf-dir /nonexistent"), 1);
    fs::write(&cluster.network.range_file, "{").expect("a broken range file");
    for command in commands.iter().filter(|command| **command != doctor) {
        ends(node, &format!("{command} --conf-dir {folder}"), 2);
    }
    both(node, &format!("{doctor} --conf-dir {folder}"), 1);
}

#[test]
fn commands_about_files_and_networks_by_name() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let folder = cluster.folder().display().to_string();
    let file = cluster.network.range_file.display().to_string();
    let state = cluster.network.state_dir.display().to_string();

    both(node, &format!("ranges check {file} --state-dir {state}"), 0);
    fs::write(cluster.folder().join("half"), "{").expect("half a range file");
    both(node, &format!("ranges check {folder}/half"), 1);
    both(node, &format!("ranges check {folder}/none"), 2);

    let init = "ranges init --cluster-cidr 10.9.0.0/16 --node a=192.0.2.1";
    let printed = ends(node, init, 0);
    assert!(serde_json::from_str::<Value>(&printed).is_ok(), "{printed}");
    ends(node, &format!("{init} --prefix 8"), 2);
    ends(node, &format!("{init} --output {file}"), 2);

    let install = format!("install --cni-bin-dir {folder}/bin --conf-dir {folder}/net.d");
    // The default network's range file is not there.
    both(node, &install, 1);
    both(node, &format!("{install} --conf {folder}/none"), 2);
    let conf = conf_dir(node, &[]).join("10-pods.conflist").display().to_string();
    both(
        node,
        &format!("install --cni-bin-dir {folder}/bin --conf-dir {folder}/own.d --conf {conf}"),
        0,
    );

    // Pods are in the way.
    both(node, &format!("remove pods --state-dir {state}"), 2);
    node.del(&pod).silent();
    // So is the range file, which lists the node.
    both(node, &format!("remove pods --state-dir {state}"), 2);
    ends(node, &format!("remove pods --state-dir {state} --force"), 0);
    both(node, &format!("remove pods --state-dir {state}"), 1);
}

#[test]
fn commands_on_labs() {
    let lab = Lab::new("x");
    let ends = |line: &str, code| {
        judge(&lab.run(&line.split_whitespace().collect::<Vec<_>>()), line, code)
    };
    ends("down", 1);
    ends("matrix", 2);
    let up = ends("up --nodes 2 --pods 1 --json", 0);
    let document: Value = serde_json::from_str(&up).expect("a document");
    let node = &document["nodes"][1];
    assert_eq!(node["netns"], format!("{}-node-2", lab.name), "{document:#}");
    assert_eq!(node["pods"][0]["netns"], format!("{}-pod-2-1", lab.name), "{document:#}");
    assert_eq!(node["pods"][0]["addresses"][0], "10.244.1.1", "{document:#}");
    ends("up", 2);
    ends("matrix", 0);
    ends("matrix --json", 0);
    let first = format!("{}-node-1", lab.name);
    let deletion = ["netns", "exec", &first, "ip", "link", "del", "flat.4096"];
    let deleted = finish(&mut command("ip", deletion), b"");
    assert!(deleted.status.success(), "{}", said(&deleted));
    ends("matrix", 1);
    ends("matrix --json", 1);
    ends("down", 0);
    ends("up --nodes 0", 2);
}

/// Neither an answer nor what is wrong can be written: it ends as with anything that could not be done.
#[test]
fn programs_whose_answer_cannot_be_written() {
    let full = || fs::File::create("/dev/full").expect("open /dev/full");
    for (line, verb, code) in [
        ("flatnet info", "", 1),
        ("flatnet", "VERSION", 1),
        ("flatnet-ipam", "VERSION", 1),
        ("flatnet-agent etcd list --network /nonexistent", "", 2),
    ] {
        let mut words = line.split(' ');
        let mut call = Command::new(ours(words.next().expect("a program")));
        call.args(words).env("CNI_COMMAND", verb).stdin(Stdio::null());
        let written = call.output().expect("run it");
        assert!(!written.stdout.is_empty() || code == 2, "{call:?}: {}", said(&written));
        let ended = call.stdout(full()).stderr(full()).status().expect("run it");
        assert_eq!(ended.code(), Some(code), "{call:?}: {ended}");
    }
}
