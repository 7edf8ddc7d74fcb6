//! A node is cut off from etcd for longer than its lease lives, or sleeps for as long; its lease is revoked, or becomes
//! another.

use std::collections::{BTreeMap, BTreeSet};

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::AFTER;

/// Three nodes with a pod each, of which the first has a lease that lives for five seconds. Those of the others must
/// not run out, however long their agents have to wait for a processor.
fn three() -> (Fleet, Vec<flatnet_tests::node::Pod>) {
    let mut fleet = Fleet::new(3, &[]);
    fleet.options = ["--lease-ttl", "5"].map(str::to_owned).into();
    fleet.start(0);
    fleet.options.clear();
    (1..3).for_each(|index| fleet.start(index));
    (0..3).for_each(|index| fleet.until_ready(index));
    for index in 0..3 {
        fleet.until_listed(index, &["node-a", "node-b", "node-c"]);
    }
    let pods: Vec<_> = fleet.cluster.nodes.iter().map(|node| node.add("pod")).collect();
    Fleet::until_reached(&pods[0], &pods[1]);
    (fleet, pods)
}

/// Two nodes with pods of which the first is cut off, until etcd has forgotten it, and a third.
fn forgotten() -> (Fleet, Vec<flatnet_tests::node::Pod>) {
    let (fleet, pods) = three();
    Fleet::until_reached(&pods[1], &pods[2]);
    fleet.cut_off(0, true);
    fleet.until_listed(1, &["node-b", "node-c"]);
    (fleet, pods)
}

/// Waits until each node's file has these ranges.
fn until_all_have(fleet: &Fleet, held: &BTreeMap<String, Vec<String>>) {
    for index in 0..3 {
        until("the file as it was", || match fleet.ranges(index) {
            ranges if ranges == *held => Ok(()),
            ranges => Err(format!("{ranges:?} is not {held:?}; {}", fleet.log(0))),
        });
    }
}

#[test]
fn a_lease_that_ran_out_is_told_and_the_ranges_are_claimed_again() {
    let (fleet, pods) = forgotten();
    let others = Flow::start(&pods[1].netns, &pods[2].netns, pods[2].v4());
    // Of the node itself nothing has changed: pods on it go on, and start.
    let held = fleet.ranges(0);
    assert_eq!(held.len(), 3, "{held:?}");
    let second = fleet.node(0).add("second");
    Fleet::until_reached(&pods[0], &second);

    fleet.cut_off(0, false);
    fleet.until_said(0, "this node's lease in etcd has run out");
    until_all_have(&fleet, &held);
    Fleet::until_reached(&pods[1], &pods[0]);
    let tally = others.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "nobody else is hurt: {tally:?}");
}

#[test]
fn a_range_that_another_has_claimed_meanwhile_is_the_others() {
    let (fleet, pods) = forgotten();
    let ranges = fleet.ranges(0)["node-a"].clone();
    let range = ranges.iter().find(|range| range.contains('.')).expect("an IPv4 range");
    let block = format!("/flatnet/pods/blocks/{}", range.replace('/', "-"));
    let value = format!(r#"{{"range":"{range}","node":"node-x","retiring":false}}"#);
    fleet.etcd.ctl(&["put", &block, &value]);
    fleet.etcd.ctl(&["put", "/flatnet/pods/nodes/node-x", r#"{"vtep":"192.168.50.77"}"#]);

    fleet.cut_off(0, false);
    fleet.until_said(0, &format!("pods of this node live in {range}, which node-x has now"));
    assert_eq!(fleet.metric(0, "flatnet_agent_waiting{kind=\"lost\"}"), 1.0);
    let waits = fleet.matters(0)["waits"].to_string();
    assert!(waits.contains("\"lost\"") && waits.contains("node-x"), "{waits}");
    // New pods get other addresses, and reach the others.
    fleet.until_listed(1, &["node-a", "node-b", "node-c", "node-x"]);
    until("another range", || match fleet.ranges(1)["node-a"].iter().find(|r| r.contains('.')) {
        Some(other) if other != range => Ok(()),
        other => Err(format!("{other:?}")),
    });
    until("another range here", || {
        let here = fleet.ranges(0).remove("node-a").unwrap_or_default();
        if here.contains(range) { Err(format!("{here:?}")) } else { Ok(()) }
    });
    let new = fleet.node(0).add("new");
    assert_ne!(new.v4(), pods[0].v4());
    Fleet::until_reached(&new, &pods[1]);
    assert_eq!(fleet.etcd.keys(&block)[0].1, value, "it is never two nodes'");
}

/// What `list` says of a node's lease.
fn lease_of(fleet: &Fleet, node: &str) -> Value {
    let list = fleet.administers(&["list", "--json"]);
    let list: Value = serde_json::from_str(&list).expect("a list");
    let nodes = list["nodes"].as_array().expect("nodes");
    nodes.iter().find(|entry| entry["name"] == node).expect("the node")["lease"].clone()
}

/// The lease that all keys of the first node hang on.
fn lease_id(fleet: &Fleet) -> i64 {
    let own =
        |(key, value): &(String, String)| key.ends_with("/node-a") || value.contains("\"node-a\"");
    let own = fleet.etcd.keys("/flatnet/pods/").into_iter().filter(own);
    let ids: BTreeSet<i64> = own.map(|(key, _)| fleet.etcd.lease_of(&key)).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().unwrap_or_default()
}

#[test]
fn a_lease_that_ran_out_while_the_agent_slept_is_told_and_followed_by_another() {
    let (fleet, pods) = three();
    let (held, before) = (fleet.ranges(0), lease_id(&fleet));
    let others = Flow::start(&pods[1].netns, &pods[2].netns, pods[2].v4());
    fleet.signal(0, Signal::SIGSTOP);
    let slept = fleet.log(0).len();
    fleet.until_listed(1, &["node-b", "node-c"]);
    // Nothing of the node has changed for its own pods.
    let second = fleet.node(0).add("second");
    Fleet::until_reached(&pods[0], &second);

    fleet.signal(0, Signal::SIGCONT);
    let said = "this node's lease in etcd has run out, or was revoked";
    let times = || fleet.log(0)[slept..].matches(said).count();
    until("word of it", || if times() > 0 { Ok(()) } else { Err(fleet.log(0)) });
    until_all_have(&fleet, &held);
    Fleet::until_reached(&pods[1], &pods[0]);
    assert_ne!(lease_id(&fleet), before);
    assert_eq!(times(), 1, "once");
    let tally = others.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "nobody else is hurt: {tally:?}");
}

/// Somebody ends the lease of a node that is well: nobody misses anything.
#[test]
fn a_lease_that_was_revoked_is_followed_by_another_and_no_packet_is_lost() {
    let (fleet, [near, far]) = Fleet::with_two(2, &[]);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    let held = fleet.ranges(1);
    // The node that came up first had a file of its own, before the other was there.
    let came_up = [fleet.log(0).len(), fleet.log(1).len()];
    for times in 1..=3 {
        let before = lease_id(&fleet);
        fleet.etcd.ctl(&["lease", "revoke", &format!("{before:x}")]);
        until("keys that hang on another", || match fleet.etcd.keys("/flatnet/pods/").len() {
            6 => Ok(()),
            count => Err(format!("{count} keys; {}", fleet.log(0))),
        });
        assert_ne!(lease_id(&fleet), before);
        let said = "this node's lease in etcd has run out, or was revoked";
        until("word of it", || match fleet.log(0).matches(said).count() {
            count if count == times => Ok(()),
            count => Err(format!("{count} times")),
        });
    }
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    for (index, came_up) in came_up.into_iter().enumerate() {
        assert_eq!(fleet.ranges(index), held);
        let log = fleet.log(index);
        let written = log[came_up..].contains("has 1 node now");
        assert!(!written, "node {index} had a file without the other: {log}");
    }
}

#[test]
fn an_agent_with_another_ttl_moves_its_keys_to_another_lease() {
    let (mut fleet, [near, far]) = Fleet::with_two(2, &[]);
    assert_eq!(lease_of(&fleet, "node-a")["ttl"], 86_400);
    let (before, held) = (lease_id(&fleet), fleet.etcd.keys("/flatnet/pods/"));
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    fleet.kill(0);
    fleet.options = ["--lease-ttl", "60"].map(str::to_owned).into();
    fleet.start(0);
    until("another lease", || match lease_of(&fleet, "node-a") {
        lease if lease["ttl"] == 60 => Ok(()),
        lease => Err(format!("{lease}: {}", fleet.said(0))),
    });
    until("all keys on it", || match fleet.administer(&["check"]) {
        output if output.status.success() => Ok(()),
        output => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
    });
    assert_ne!(lease_id(&fleet), before);
    assert_eq!(fleet.etcd.keys("/flatnet/pods/"), held, "nothing else was written");
    // It is renewed in time.
    let deadline = "lease that was renewed";
    until(deadline, || match lease_of(&fleet, "node-a")["secondsSinceRenewal"].as_i64() {
        Some(10..) => Ok(()),
        since => Err(format!("{since:?}")),
    });
    until(deadline, || match lease_of(&fleet, "node-a")["secondsSinceRenewal"].as_i64() {
        Some(0..3) => Ok(()),
        since => Err(format!("{since:?}")),
    });
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}
