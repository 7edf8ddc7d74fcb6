//! Nodes come up, and each finds the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;
use serde_json::{Value, json};

use crate::AFTER;

/// What each key holds, by the rest of its name.
fn keys(fleet: &Fleet) -> BTreeMap<String, Value> {
    let keys = fleet.etcd.keys("/flatnet/pods/").into_iter();
    keys.map(|(key, value)| {
        let value = serde_json::from_str(&value).unwrap_or_else(|_| panic!("{key}: {value}"));
        (key["/flatnet/pods/".len()..].to_owned(), value)
    })
    .collect()
}

fn lease_of(fleet: &Fleet, key: &str) -> i64 {
    fleet.etcd.lease_of(&format!("/flatnet/pods/{key}"))
}

#[test]
fn a_fleet_comes_up_by_itself() {
    let mut fleet = Fleet::new(3, &[]);
    fleet.start_all();
    for index in 0..3 {
        fleet.until_listed(index, &["node-a", "node-b", "node-c"]);
    }
    let pods: Vec<_> = fleet.cluster.nodes.iter().map(|node| node.add("pod")).collect();
    for from in &pods {
        pods.iter().for_each(|to| Fleet::until_reached(from, to));
    }

    let held = keys(&fleet);
    assert_eq!(held["nodes/node-b"], json!({ "vtep": "192.168.50.2" }));
    let blocks: Vec<_> = held.iter().filter(|(key, _)| key.starts_with("blocks/")).collect();
    assert_eq!(blocks.len(), 6, "{held:?}");
    let mut leases = BTreeSet::new();
    for (key, block) in blocks {
        let range = block["range"].as_str().expect("a range");
        assert_eq!(*key, format!("blocks/{}", range.replace('/', "-")));
        let node = block["node"].as_str().expect("a node");
        assert_eq!(block["retiring"], false);
        let lease = lease_of(&fleet, key);
        assert_eq!(lease, lease_of(&fleet, &format!("nodes/{node}")), "{key}");
        leases.insert(lease);
    }
    assert_eq!(leases.len(), 3, "one for each node");
    assert!(!leases.contains(&0));

    // A node that joins costs one look, at what is new, and what was made of it is no event of others.
    let looks = |fleet: &Fleet| fleet.metric(0, "flatnet_agent_applies_total{outcome=\"ok\"}");
    let (before, begun) = (looks(&fleet), Instant::now());
    for number in [77, 78, 79] {
        let (node, range) = (format!("node-{number}"), format!("10.244.{number}.0/24"));
        let vtep = json!({ "vtep": format!("192.168.50.{number}") });
        let block = json!({ "range": range, "node": node, "retiring": false });
        fleet.etcd.ctl(&["put", &format!("/flatnet/pods/nodes/{node}"), &vtep.to_string()]);
        let key = format!("/flatnet/pods/blocks/{}", range.replace('/', "-"));
        fleet.etcd.ctl(&["put", &key, &block.to_string()]);
        until("route", || match fleet.node(0).netns.exec("ip route show proto 102") {
            routes if routes.contains(&range) => Ok(()),
            routes => Err(routes),
        });
        fleet.etcd.ctl(&["del", &format!("/flatnet/pods/nodes/{node}")]);
        fleet.etcd.ctl(&["del", &key]);
        until("no route", || match fleet.node(0).netns.exec("ip route show proto 102") {
            routes if routes.contains(&range) => Err(routes),
            _ => Ok(()),
        });
    }
    // Three that come and go, of which the last may not be counted yet, and the look that there is each minute.
    let looked = looks(&fleet) - before;
    let minutes = (begun.elapsed().as_secs_f64() / 60.0).ceil();
    assert!((5.0..=6.0 + minutes).contains(&looked), "{looked} looks");

    // An agent that is killed and started again finds its lease, and no packet is lost.
    let before = lease_of(&fleet, "nodes/node-a");
    let flow = Flow::start(&pods[0].netns, &pods[1].netns, pods[1].v4());
    fleet.kill(0);
    fleet.start(0);
    fleet.until_ready(0);
    let again = fleet.node(0).add("again");
    Fleet::until_reached(&again, &pods[2]);
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    assert_eq!(lease_of(&fleet, "nodes/node-a"), before);
    assert_eq!(keys(&fleet), held, "nothing else was written");
}

#[test]
fn nodes_that_join_are_no_drift() {
    let (fleet, _pods) = Fleet::with_two(2, &[]);
    let mended = || fleet.metric(0, "flatnet_agent_drift_mended_total");
    let routes = || fleet.node(0).netns.exec("ip route show proto 102");
    let begun = mended();
    // One file after the other, each before the one before has been brought about.
    for number in 100..130 {
        let node = format!("node-{number}");
        let vtep = json!({ "vtep": format!("192.168.50.{number}") });
        let range = format!("10.244.{number}.0/24");
        let block = json!({ "range": range, "node": node, "retiring": false });
        fleet.etcd.ctl(&["put", &format!("/flatnet/pods/nodes/{node}"), &vtep.to_string()]);
        let key = format!("/flatnet/pods/blocks/{}", range.replace('/', "-"));
        fleet.etcd.ctl(&["put", &key, &block.to_string()]);
    }
    until("all routes", || match routes() {
        routes if (100..130).all(|n| routes.contains(&format!("10.244.{n}.0/24 via"))) => Ok(()),
        routes => Err(routes),
    });
    // A control, which is heard of after all of them.
    fleet.node(0).netns.exec("ip route del 10.244.117.0/24");
    until("the route", || match routes() {
        routes if routes.contains("10.244.117.0/24") => Ok(()),
        routes => Err(routes),
    });
    until("count of it", || match mended() - begun {
        1.0 => Ok(()),
        count => Err(format!("{count} changes were mended: {}", fleet.log(0))),
    });
}
