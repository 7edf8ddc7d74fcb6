//! What the plugin's tools advise beside an agent, done: the range file is the agent's, and a node that is gone for good is
//! forgotten in etcd.

use std::fs;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::cli::findings_in;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::probe::Flow;
use flatnet_tests::program::bin_dir;
use serde_json::Value;

use crate::AFTER;

/// What the doctor finds on the first node.
fn findings(fleet: &Fleet) -> Vec<Value> {
    let own = fleet.cluster.folder().join("node-a");
    let mut found = findings_in(fleet.node(0), &own.join("net.d"), &bin_dir());
    // `portmap` is in none of its folders.
    found.retain(|finding| finding["check"] != "CNI plugins");
    found
}

/// Waits until it finds nothing: what was mended may be mended by the agent, in its own time.
fn until_nothing_is_found(fleet: &Fleet) {
    until("nothing to find", || match findings(fleet) {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:#?}")),
    });
}

/// The one thing that it finds, which begins so: what it advises.
fn advice(fleet: &Fleet, what: &str) -> String {
    let found = findings(fleet);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0]["what"].as_str().is_some_and(|said| said.contains(what)), "{found:#?}");
    found[0]["advice"].as_str().expect("advice").to_owned()
}

#[test]
fn a_range_file_that_is_spoiled_is_made_again_and_no_pod_notices() {
    let (mut fleet, [near, far]) = Fleet::with_two(2, &[]);
    let path = fleet.node(0).network.range_file.clone();
    let whole = fs::read(&path).expect("the range file");
    let until_whole = || {
        until("the file as it was", || match fs::read(&path) {
            Ok(bytes) if bytes == whole => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    for spoil in [None, Some("{")] {
        match spoil {
            None => fs::remove_file(&path).expect("remove the range file"),
            Some(text) => fs::write(&path, text).expect("spoil the range file"),
        }
        until_whole();
        let pod = fleet.node(0).add("meanwhile");
        Fleet::until_reached(&pod, &far);
        fleet.node(0).del(&pod).silent();
    }
    fleet.until_said(0, "is not as this agent left it: it is made so again");
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    until_nothing_is_found(&fleet);

    // Without its agent the file stays away, and that is what is advised.
    fleet.kill(0);
    fs::remove_file(&path).expect("remove the range file");
    let mend = advice(&fleet, "pods.json");
    assert!(mend.contains("see whether it runs here") && mend.contains("journalctl"), "{mend}");
    fleet.start(0);
    fleet.until_ready(0);
    until_whole();
    until_nothing_is_found(&fleet);
}

#[test]
fn a_node_that_is_gone_is_taken_out_as_the_doctor_says() {
    let (mut fleet, _pods) = Fleet::with_two(2, &[]);
    until_nothing_is_found(&fleet);
    fleet.kill(1);
    fleet.node(1).netns.exec(&format!("ip link set {UNDERLAY} down"));
    let mend = advice(&fleet, "dead or cut off: ");
    let command = mend.split('`').nth(1).expect("a command");
    assert_eq!(command, "flatnet-agent etcd forget node-b");
    let arguments: Vec<&str> = command.split(' ').skip(2).collect();
    // It was heard of a moment ago.
    let said = fleet.administers(&[&arguments[..], &["--force"]].concat());
    assert!(said.starts_with("node-b is forgotten"), "{said}");
    fleet.until_listed(0, &["node-a"]);
    until_nothing_is_found(&fleet);
}
