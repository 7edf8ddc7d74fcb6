//! What is written down: a line for each call, every change of the kernel as a command, into a
//! file that many processes share.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{ours, said, system};
use serde_json::json;

/// A cluster of one node that logs at this level into the file beside its range file.
fn logging(level: &str) -> Cluster {
    let mut cluster = Cluster::new(1);
    let file = cluster.folder().join("log");
    cluster.configure("logLevel", json!(level));
    cluster.configure("logFile", json!(file));
    cluster
}

fn read(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.folder().join("log")).unwrap_or_default()
}

/// The texts of the lines, without time, process and level.
fn texts(cluster: &Cluster, level: &str) -> Vec<String> {
    let log = read(cluster);
    let text = |line: &str| {
        let (head, text) = line.split_once(&format!("] {level}: "))?;
        let (time, process) = head.split_once(" flatnet[").expect("time and process");
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        process.parse::<u32>().expect("a process id");
        Some(text.to_owned())
    };
    log.lines().filter_map(text).collect()
}

/// One line up to its duration.
fn without_duration(line: &str) -> &str {
    let (text, duration) = line.rsplit_once(" ms=").unwrap_or_else(|| panic!("{line}"));
    assert!(duration.parse::<f64>().unwrap() > 0.0, "{line}");
    text
}

#[test]
fn every_call_has_a_line() {
    let cluster = logging("info");
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    node.call("STATUS").run().silent();
    node.del(&pod).silent();
    let lines = texts(&cluster, "INFO");
    let id = &pod.container_id;
    let both = format!("{},{}", pod.v4(), pod.v6());
    let about = format!("network=pods container={id} ifname=eth0");
    let calls: Vec<&str> = lines.iter().map(|line| without_duration(line)).collect();
    assert_eq!(
        calls,
        [
            format!("ADD {about} addresses={both}"),
            "STATUS network=pods".into(),
            format!("DEL {about} addresses={both}"),
        ]
    );
    let mode = fs::metadata(cluster.folder().join("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn by_default_only_failures_are_written() {
    let cluster = logging("warn");
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    node.del(&pod).silent();
    assert!(!cluster.folder().join("log").exists(), "{}", read(&cluster));
    fs::write(&cluster.network.range_file, "{").unwrap();
    node.call_for("ADD", &Pod::new("none")).run().error();
    let lines = texts(&cluster, "ERROR");
    assert!(lines.len() == 1 && lines[0].starts_with("ADD network=pods container="), "{lines:?}");
    assert!(lines[0].contains(".json"), "{lines:?}");
}

#[test]
fn every_change_is_shown_as_a_command() {
    let cluster = logging("debug");
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let veth = node.leases()[0]["veth"].as_str().unwrap().to_owned();
    node.del(&pod).silent();
    let lines = texts(&cluster, "DEBUG");
    let address = pod.v4();
    for part in [
        "ip link add flat.4096 ",
        &format!("ip link add {veth} "),
        "nft (table inet flatnet) ",
        "sysctl -w ",
        &format!("ip addr add {address}/32 dev eth0"),
        &format!("ip route add {address}/32 dev "),
        &format!("ip neigh replace {address} lladdr "),
        &format!("ip link delete {veth}"),
    ] {
        let count = lines.iter().filter(|line| line.contains(part)).count();
        assert!(count > 0, "no `{part}` in:\n{}", lines.join("\n"));
    }
}

#[test]
fn the_file_is_put_aside_when_it_is_full() {
    let cluster = logging("info");
    let node = &cluster.nodes[0];
    let log = cluster.folder().join("log");
    let old = cluster.folder().join("log.1");
    fs::write(&log, vec![b'x'; 10 << 20]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| node.add("pod"));
        }
    });
    let lines = |path: &Path| {
        let text = fs::read(path).unwrap();
        String::from_utf8_lossy(&text).matches(" INFO: ADD ").count()
    };
    assert_eq!(lines(&log) + lines(&old), 8);
    assert!(fs::metadata(&old).unwrap().len() >= 10 << 20);
    assert!(fs::metadata(&log).unwrap().len() < 10_000);
}

#[test]
fn a_file_that_cannot_be_written_stops_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.configure("logLevel", json!("info"));
    cluster.configure("logFile", json!(cluster.folder().join("none/log")));
    let node = &cluster.nodes[0];
    let pod = Pod::new("pod");
    let outcome = node.call_for("ADD", &pod).run();
    outcome.result();
    let said = outcome.stderr();
    assert!(said.contains("WARN: cannot write logFile "), "{said}");
    assert!(said.contains("INFO: ADD network=pods "), "{said}");
    node.del(&pod).silent();
}

/// A failing call on a node, in a mount namespace whose /dev is that folder.
fn fail_with_dev(node: &Node, dev: &Path, verb: &str) {
    let script = r#"mount --bind "$1" /dev && exec "$2""#;
    let flatnet = ours("flatnet");
    let mut call = Command::new(system("unshare"));
    call.args(["--mount", "sh", "-c", script, "sh"]).args([dev, &flatnet]);
    call.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", "c1").env("CNI_IFNAME", "eth0");
    call.env("CNI_NETNS", "/nonexistent").env("CNI_PATH", "/nonexistent");
    let configuration = node.network.configuration.to_string();
    let output = node.netns.finish(&mut call, configuration.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_failed_call_is_in_the_machine_s_own_log() {
    let mut cluster = Cluster::new(1);
    let dev = cluster.folder().join("dev");
    fs::create_dir(&dev).expect("a folder");
    fs::write(dev.join("kmsg"), "").expect("a file");
    let kernel = || fs::read_to_string(dev.join("kmsg")).expect("the kernel's log");
    fail_with_dev(&cluster.nodes[0], &dev, "ADD");
    let line = kernel();
    assert!(line.starts_with("<27>flatnet["), "{line}");
    assert!(line.contains("]: ADD network=pods container=c1 ifname=eth0 ms="), "{line}");
    assert!(line.contains("/nonexistent"), "{line}");

    let journal = UnixDatagram::bind(dev.join("log")).expect("a socket");
    journal.set_nonblocking(true).expect("a socket that does not wait");
    fail_with_dev(&cluster.nodes[0], &dev, "ADD");
    let mut buffer = [0; 1024];
    let length = journal.recv(&mut buffer).expect("a line");
    let second = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(second.starts_with("<27>flatnet[") && second.contains("ADD network=pods"), "{second}");
    assert_eq!(kernel(), line, "where the journal listens, the kernel is not told");

    // Who has a log of their own looks there, and STATUS is asked again and again.
    fs::remove_file(&cluster.network.range_file).expect("remove the range file");
    fail_with_dev(&cluster.nodes[0], &dev, "STATUS");
    cluster.configure("logFile", json!(cluster.folder().join("own")));
    fail_with_dev(&cluster.nodes[0], &dev, "ADD");
    assert!(journal.recv(&mut buffer).is_err(), "{second}");
    assert!(
        fs::read_to_string(cluster.folder().join("own")).expect("a log").contains("ERROR: ADD")
    );
}
