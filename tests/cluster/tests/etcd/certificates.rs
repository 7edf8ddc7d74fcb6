//! Certificates that have expired, or are of a time that is still to come: of who asks, and of members.

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::etcd::certificates::Validity;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;

use crate::AFTER;

/// What was not valid is replaced, in the same files; nobody restarts anything.
fn until_connected(fleet: &Fleet, index: usize) {
    until("connection", || match fleet.metric(index, "flatnet_agent_source_connected") {
        1.0 => Ok(()),
        _ => Err(fleet.log(index)),
    });
}

#[test]
fn who_asks_with_a_certificate_of_another_time_is_told_and_goes_on_with_a_new_one() {
    let mut fleet = Fleet::new(2, &[]);
    fleet.etcd.certificates.client("node-a");
    let files = ["node-a.crt", "node-a.key"].map(|name| fleet.etcd.certificates.file(name));
    let mut access = fleet.access();
    for (option, file) in ["--cert", "--key"].into_iter().zip(files.clone()) {
        let place = access.iter().position(|word| word == option).expect("an option") + 1;
        access[place] = file;
    }
    fleet.start_with(0, &access);
    fleet.start(1);
    fleet.until_ready(0);
    fleet.until_ready(1);
    fleet.until_listed(0, &["node-a", "node-b"]);
    let (near, far) = (fleet.node(0).add("near"), fleet.node(1).add("far"));
    Fleet::until_reached(&near, &far);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());

    for validity in [Validity::Past, Validity::Future] {
        fleet.etcd.certificates.client_of("node-a", validity);
        // Who is connected stays so: nothing is asked for a second time.
        assert_eq!(fleet.metric(0, "flatnet_agent_source_connected"), 1.0);
        fleet.cut_off(0, true);
        until("trouble", || match fleet.metric(0, "flatnet_agent_source_connected") {
            0.0 => Ok(()),
            _ => Err(fleet.log(0)),
        });
        fleet.cut_off(0, false);
        let words = format!("the certificate {} has expired, or is not valid yet", files[0]);
        until("reason", || match fleet.matters(0)["trouble"]["why"].to_string() {
            why if why.contains(&words) => Ok(()),
            why => Err(why),
        });
        fleet.until_said(0, &words);
        let meanwhile = fleet.node(0).add("meanwhile");
        Fleet::until_reached(&meanwhile, &far);

        fleet.etcd.certificates.client("node-a");
        until_connected(&fleet, 0);
    }
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}

#[test]
fn members_with_a_certificate_of_another_time_are_not_trusted() {
    let (mut fleet, [near, far]) = Fleet::with_two(2, &[]);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());
    for (validity, words) in [
        (Validity::Past, "its certificate was valid until 2001-01-02T00:00:00Z"),
        (Validity::Future, "its certificate is valid from 2099-01-01T00:00:00Z on"),
    ] {
        fleet.etcd.certificates.server_of(validity);
        (0..3).for_each(|index| fleet.etcd.kill_member(index));
        (0..3).for_each(|index| fleet.etcd.start_member(index));
        for index in 0..2 {
            fleet.until_said(index, words);
        }
        fleet.etcd.certificates.server_of(Validity::Now);
        for index in 0..2 {
            until_connected(&fleet, index);
        }
    }
    // A node that comes is heard of: they go on as before.
    let key = "/flatnet/pods/nodes/node-c";
    fleet.etcd.ctl(&["put", key, r#"{"vtep":"192.168.50.7"}"#]);
    let block = r#"{"range":"10.244.77.0/24","node":"node-c","retiring":false}"#;
    fleet.etcd.ctl(&["put", "/flatnet/pods/blocks/10.244.77.0-24", block]);
    for index in 0..2 {
        fleet.until_listed(index, &["node-a", "node-b", "node-c"]);
    }
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}
