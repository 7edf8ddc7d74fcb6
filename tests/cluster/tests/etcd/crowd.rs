//! Many agents begin at one time, on an empty cluster that has just as many blocks.

use std::collections::BTreeSet;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;

const NODES: u8 = 50;

#[test]
fn fifty_agents_at_once_share_no_range_and_leave_none() {
    let mut fleet = Fleet::new(NODES, &[]);
    // 32, 16 and 2.
    let cidrs = ["10.244.0.0/21", "10.244.8.0/22", "10.244.12.0/25"];
    fleet.network["clusterCIDRs"] = serde_json::json!(cidrs);
    fleet.network["blockSizes"] = serde_json::json!({ "ipv4": 26 });
    for index in 0..usize::from(NODES) {
        fleet.start(index);
    }
    let holder = |(_, value): (String, String)| {
        let value: serde_json::Value = serde_json::from_str(&value).expect("a block");
        value["node"].as_str().expect("a node").to_owned()
    };
    // Who got no answer to a claim that counts all the same has two for a moment.
    until("block of each", || {
        let blocks = fleet.etcd.keys("/flatnet/pods/blocks/");
        let count = blocks.len();
        let nodes: BTreeSet<String> = blocks.into_iter().map(holder).collect();
        let each = [count, nodes.len()] == [usize::from(NODES); 2];
        if each { Ok(()) } else { Err(format!("{count} blocks of {} nodes", nodes.len())) }
    });
    let first = until("all in one file", || match fleet.ranges(0) {
        ranges if ranges.len() == usize::from(NODES) => Ok(ranges),
        ranges => Err(format!("{}", ranges.len())),
    });
    for index in 1..usize::from(NODES) {
        until("the same file", || match fleet.ranges(index) {
            ranges if ranges == first => Ok(()),
            ranges => Err(format!("{} of {}", ranges.len(), first.len())),
        });
    }
}
