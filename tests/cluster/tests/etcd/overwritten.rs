//! Somebody writes over a key: of a node, where it is; of a block, that a node has it.

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::probe::Flow;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::AFTER;

/// The key of the oldest node.
const OLDEST: &str = "/flatnet/pods/nodes/node-a";
const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

fn put(fleet: &Fleet, key: &str, value: &str) {
    fleet.etcd.ctl(&["put", key, value]);
}

fn until_says(fleet: &Fleet, key: &str, what: &str, value: &str) {
    until("right key", || {
        let text = fleet.etcd.ctl(&["get", "--print-value-only", key]);
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        match said[what] == value {
            true => Ok(()),
            false => Err(format!("{key} says {text}; {}", fleet.log(0))),
        }
    });
}

/// The commands that `check` advises.
fn advice(fleet: &Fleet) -> Vec<String> {
    let output = fleet.administer(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(str::to_owned).collect()
}

#[test]
fn another_address_of_the_oldest_node_puts_out_no_other() {
    let (mut fleet, [_own, far]) = Fleet::with_two(3, &[]);
    fleet.start(2);
    fleet.until_ready(2);
    fleet.until_listed(1, &NODES);
    let third = fleet.node(2).add("third");
    Fleet::until_reached(&far, &third);
    let flow = Flow::start(&far.netns, &third.netns, third.v4());
    let held = fleet.ranges(1);
    let begun = fleet.log(1).len();
    // The second time comes at once behind the first.
    for address in ["fd00:77::1", "fd00:77::1", "192.168.50.2", "192.168.50.2", "nonsense"] {
        put(&fleet, OLDEST, &json!({ "vtep": address }).to_string());
        until_says(&fleet, OLDEST, "vtep", "192.168.50.1");
    }
    for index in 0..3 {
        until("the file as it was", || match fleet.ranges(index) {
            ranges if ranges == held => Ok(()),
            ranges => Err(format!("{ranges:?}")),
        });
    }
    assert!(fleet.administers(&["check"]).contains("nothing wrong"));

    // Where nobody mends it, it is the one that is wrong.
    fleet.signal(0, Signal::SIGSTOP);
    for (address, why) in [
        ("fd00:77::1", "node node-a is left out: its VTEP fd00:77::1 is not of the family"),
        ("192.168.50.2", "node node-a is left out: its VTEP 192.168.50.2 is that of node-b"),
    ] {
        put(&fleet, OLDEST, &json!({ "vtep": address }).to_string());
        fleet.until_said(1, why);
        fleet.until_listed(1, &NODES[1..]);
        fleet.until_listed(2, &NODES[1..]);
        assert_eq!(advice(&fleet)[0], format!("etcdctl del {OLDEST}"));
        assert!(advice(&fleet).iter().all(|command| !command.contains("node-b")));
    }
    fleet.signal(0, Signal::SIGCONT);
    until_says(&fleet, OLDEST, "vtep", "192.168.50.1");
    for index in 0..3 {
        fleet.until_listed(index, &NODES);
    }
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    let log = &fleet.log(1)[begun..];
    assert!(!log.contains("node node-b is left out") && !log.contains("node node-c"), "{log}");
}

#[test]
fn a_node_that_is_alone_goes_to_an_address_of_the_other_family() {
    let mut fleet = Fleet::new(1, &[]);
    fleet.start(0);
    fleet.until_ready(0);
    fleet.node(0).netns.exec(&format!("ip address add fd00:77::1/64 dev {UNDERLAY} nodad"));
    fleet.kill(0);
    fleet.cluster.nodes[0].vtep = "fd00:77::1".parse().expect("an address");
    fleet.start(0);
    until_says(&fleet, OLDEST, "vtep", "fd00:77::1");
    until("an overlay there", || {
        // It is gone for a moment, while it is made anew.
        let shown = fleet.node(0).netns.attempt("ip -j -d link show flat.4096").stdout;
        let links: Value = serde_json::from_slice(&shown).unwrap_or_default();
        match links[0]["linkinfo"]["info_data"]["local6"] == "fd00:77::1" {
            true => Ok(()),
            false => Err(format!("{links}; {}", fleet.log(0))),
        }
    });
    assert!(fleet.administers(&["check"]).contains("nothing wrong"));
}

#[test]
fn nonsense_in_the_key_of_a_range_takes_it_from_nobody() {
    let (fleet, [near, far]) = Fleet::with_two(2, &[]);
    let held = fleet.ranges(1);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    let begun = fleet.log(1).len();
    let key = |range: &str| format!("/flatnet/pods/blocks/{}", range.replace('/', "-"));
    for range in &held["node-b"] {
        for nonsense in ["x", r#"{"range":"10.244.9.0/24","node":"node-a"}"#] {
            put(&fleet, &key(range), nonsense);
            until_says(&fleet, &key(range), "node", "node-b");
        }
    }
    // What nobody has had says nothing, and stays; what is called as in a Kubernetes is no claim.
    let wrong = [
        (key("10.244.250.0-24"), "x"),
        (key("10-244-251-0-24"), r#"{"range":"10.244.251.0/24","node":"node-b","retiring":false}"#),
    ];
    for (key, value) in &wrong {
        put(&fleet, key, value);
    }
    fleet.until_said(1, "block 10-244-251-0-24 is left out: its range is 10.244.251.0/24, whose block is called 10.244.251.0-24");
    fleet.until_said(1, "block 10.244.250.0-24 is left out");
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    for index in 0..2 {
        assert_eq!(fleet.ranges(index), held, "{}", fleet.log(index));
    }
    let log = &fleet.log(1)[begun..];
    assert!(!log.contains("given back") && !log.contains("nobody reaches them"), "{log}");
    let commands = wrong.map(|(key, _)| format!("etcdctl del {key}"));
    let mut advice = advice(&fleet);
    advice.sort();
    assert_eq!(advice, [commands[1].clone(), commands[0].clone()]);
    for command in &commands {
        fleet.etcd.ctl(&command.split(' ').skip(1).collect::<Vec<_>>());
    }
    until("keys on leases, and nothing else", || {
        let output = fleet.administer(&["check"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("nothing wrong") { Ok(()) } else { Err(text) }
    });
}
