//! A node is cut off from etcd for longer than its lease lives.

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;

use crate::AFTER;

/// Two nodes with pods of which the first is cut off, until etcd has forgotten it, and a third.
fn forgotten() -> (Fleet, Vec<flatnet_tests::node::Pod>) {
    let mut fleet = Fleet::new(3, &[]);
    fleet.options = ["--lease-ttl", "5"].map(str::to_owned).into();
    fleet.start_all();
    for index in 0..3 {
        fleet.until_listed(index, &["node-a", "node-b", "node-c"]);
    }
    let pods: Vec<_> = fleet.cluster.nodes.iter().map(|node| node.add("pod")).collect();
    Fleet::until_reached(&pods[0], &pods[1]);
    Fleet::until_reached(&pods[1], &pods[2]);
    fleet.cut_off(0, true);
    fleet.until_listed(1, &["node-b", "node-c"]);
    (fleet, pods)
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
    for index in 0..3 {
        until("the file as it was", || match fleet.ranges(index) {
            ranges if ranges == held => Ok(()),
            ranges => Err(format!("{ranges:?} is not {held:?}; {}", fleet.log(0))),
        });
    }
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
