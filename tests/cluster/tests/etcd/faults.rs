//! Members of etcd die and come back, an agent sleeps, a node is cut off from etcd, etcd is put back to what it was.

use std::fs;
use std::process::Command;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::AFTER;

/// One after the other, while a flow between two pods goes on.
#[test]
fn what_etcd_does_not_answer_changes_nothing() {
    let (mut fleet, [near, far]) = Fleet::with_two(3, &[]);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());

    // The leader is killed: the others choose another, and a node joins.
    let leader = fleet.etcd.leader();
    fleet.etcd.kill_member(leader);
    fleet.start(2);
    fleet.until_ready(2);
    fleet.until_listed(0, &["node-a", "node-b", "node-c"]);
    let third = fleet.node(2).add("third");
    Fleet::until_reached(&near, &third);

    // Another one: there is no majority. It is said, and pods start and stop.
    let another = (leader + 1) % 3;
    fleet.etcd.kill_member(another);
    until("trouble", || match fleet.metric(0, "flatnet_agent_source_connected") {
        0.0 => Ok(()),
        _ => Err(fleet.log(0)),
    });
    fleet.until_said(0, "the source does not answer");
    assert!(fleet.matters(0)["trouble"]["why"].is_string(), "{}", fleet.matters(0));
    let meanwhile = fleet.node(0).add("meanwhile");
    Fleet::until_reached(&meanwhile, &far);
    fleet.node(0).del(&meanwhile).silent();
    fleet.until_ready(0);
    fleet.etcd.start_member(leader);
    fleet.etcd.start_member(another);
    fleet.until_said(0, "the source answers again");
    for index in 0..3 {
        until("connection", || match fleet.metric(index, "flatnet_agent_source_connected") {
            1.0 => Ok(()),
            _ => Err(fleet.log(index)),
        });
    }

    // An agent sleeps while a node goes, another range comes, and etcd forgets how.
    fleet.signal(1, Signal::SIGSTOP);
    fleet.kill(2);
    fleet.etcd.ctl(&["del", "/flatnet/pods/nodes/node-c"]);
    fleet.until_listed(0, &["node-a", "node-b"]);
    let text = fleet.etcd.ctl(&["get", "/flatnet/pods/nodes/node-a", "--write-out=json"]);
    let answer: Value = serde_json::from_str(&text).expect("an answer");
    let revision = answer["header"]["revision"].to_string();
    fleet.etcd.ctl(&["compact", &revision]);
    fleet.signal(1, Signal::SIGCONT);
    fleet.until_listed(1, &["node-a", "node-b"]);

    // A node is cut off from etcd, but not from its peers.
    fleet.cut_off(0, true);
    until("trouble", || match fleet.metric(0, "flatnet_agent_source_connected") {
        0.0 => Ok(()),
        _ => Err(fleet.log(0)),
    });
    fleet.start(2);
    fleet.until_ready(2);
    fleet.until_listed(1, &["node-a", "node-b", "node-c"]);
    let cut_off = fleet.node(0).add("cut-off");
    Fleet::until_reached(&cut_off, &far);
    fleet.cut_off(0, false);
    fleet.until_listed(0, &["node-a", "node-b", "node-c"]);
    let tally = flow.finish(AFTER);
    println!("{} of {} packets were answered", tally.answered, tally.sent);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}

/// Keeps a copy of what a member has on its disk, or puts it back.
fn copy(fleet: &Fleet, index: usize, back: bool) {
    let data = fleet.etcd.data(index);
    let kept = data.with_extension("kept");
    let (from, to) = if back { (kept, data) } else { (data, kept) };
    drop(fs::remove_dir_all(&to));
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(copied.success());
}

#[test]
fn what_etcd_has_forgotten_is_written_again() {
    let (mut fleet, [near, far]) = Fleet::with_two(3, &[]);
    let members = 0..3;
    members.clone().for_each(|index| fleet.etcd.kill_member(index));
    members.clone().for_each(|index| copy(&fleet, index, false));
    members.clone().for_each(|index| fleet.etcd.start_member(index));
    fleet.etcd.until_it_answers();
    fleet.start(2);
    fleet.until_ready(2);
    let third = fleet.node(2).add("third");
    fleet.until_listed(0, &["node-a", "node-b", "node-c"]);
    Fleet::until_reached(&near, &third);
    let before = fleet.ranges(0);

    // One member, which the others do not take back as it has lost what it had confirmed: agents go on with these.
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    fleet.etcd.kill_member(1);
    copy(&fleet, 1, true);
    fleet.etcd.start_member(1);
    let again = fleet.node(1).add("again");
    Fleet::until_reached(&near, &again);
    // All of them: the third node never was.
    members.clone().for_each(|index| fleet.etcd.kill_member(index));
    members.clone().for_each(|index| copy(&fleet, index, true));
    members.clone().for_each(|index| fleet.etcd.start_member(index));
    fleet.etcd.until_it_answers();
    for index in 0..3 {
        until("all ranges", || match fleet.etcd.keys("/flatnet/pods/").len() {
            9 => Ok(()),
            other => Err(format!("{other} keys; {}", fleet.log(2))),
        });
        until("the file as it was", || match fleet.ranges(index) {
            ranges if ranges == before => Ok(()),
            ranges => Err(format!("{ranges:?} is not {before:?}")),
        });
    }
    Fleet::until_reached(&third, &far);
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}

/// Takes all that etcd has away, and has it begin anew.
fn lose(fleet: &mut Fleet) {
    (0..3).for_each(|index| fleet.etcd.kill_member(index));
    for index in 0..3 {
        fs::remove_dir_all(fleet.etcd.data(index)).expect("remove what a member has");
    }
    (0..3).for_each(|index| fleet.etcd.start_member(index));
    fleet.etcd.until_it_answers();
}

fn until_all_is_back(fleet: &Fleet) {
    until("all keys", || match fleet.etcd.keys("/flatnet/pods/").len() {
        6 => Ok(()),
        other => Err(format!("{other} keys; {}", fleet.log(0))),
    });
    for index in 0..2 {
        fleet.until_said(index, "etcd is not as far as it was, or another");
    }
}

/// What agents hold of it is all there is. Whoever is the first to see the new one waits for the others.
#[test]
fn an_etcd_that_lost_everything_is_told_all_again_and_no_pod_notices() {
    let (mut fleet, [near, far]) = Fleet::with_two(2, &[]);
    let before = fleet.ranges(0);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    lose(&mut fleet);
    until_all_is_back(&fleet);
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    for index in 0..2 {
        assert_eq!(fleet.ranges(index), before);
        let log = fleet.log(index);
        let both = log.rfind(" has 2 nodes now").expect("a file with both");
        assert!(!log[both..].contains(" has 1 node now"), "{log}");
    }
}

#[test]
fn another_etcd_that_has_come_as_far_is_not_taken_for_the_one_that_was() {
    let (mut fleet, [near, far]) = Fleet::with_two(2, &[]);
    let before = fleet.ranges(0);
    fleet.cut_off(0, true);
    lose(&mut fleet);
    for number in 0..20 {
        fleet.etcd.ctl(&["put", "/other", &number.to_string()]);
    }
    fleet.cut_off(0, false);
    until_all_is_back(&fleet);
    for index in 0..2 {
        until("the file as it was", || match fleet.ranges(index) {
            ranges if ranges == before => Ok(()),
            ranges => Err(format!("{ranges:?} is not {before:?}")),
        });
    }
    Fleet::until_reached(&near, &far);
}
