//! The service of the plugin's package keeps a network that an agent keeps, too: neither is in the other's way.

use std::fs;
use std::process::Command;

use flatnet_cluster::daemon::Daemon;
use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::{Flow, reaches};
use flatnet_tests::program::ours;

use crate::AFTER;

/// What our routes are, for another look at them.
fn routes(fleet: &Fleet) -> String {
    fleet.node(0).netns.exec("ip -4 route show proto 102")
}

#[test]
fn two_keepers_of_a_network_agree() {
    let (mut fleet, [near, far]) = Fleet::with_two(3, &[]);
    // What the agent had to say of its own beginning is none of this.
    let began = fleet.log(0).len();
    let own = fleet.cluster.folder().join("node-a");
    let mut sync = Command::new(ours("flatnet"));
    sync.args(["sync", "--watch", "--conf-dir"]).arg(own.join("net.d"));
    let mut sync = fleet.node(0).netns.run(|| Daemon::start("sync", &own, &mut sync));
    let flow = Flow::start(&near.netns, &far.netns, far.v4());

    // A node comes, and goes, and comes with another address: both follow the file.
    for name in ["node-c", "node-d"] {
        let block = "/flatnet/pods/blocks/10.244.77.0-24";
        let value = format!(r#"{{"range":"10.244.77.0/24","node":"{name}","retiring":false}}"#);
        fleet.etcd.ctl(&[
            "put",
            &format!("/flatnet/pods/nodes/{name}"),
            r#"{"vtep":"192.168.50.7"}"#,
        ]);
        fleet.etcd.ctl(&["put", block, &value]);
        until("route", || match routes(&fleet) {
            routes if routes.contains("10.244.77.0/24 via") => Ok(()),
            routes => Err(routes),
        });
        fleet.etcd.ctl(&["del", &format!("/flatnet/pods/nodes/{name}")]);
        fleet.etcd.ctl(&["del", block]);
        until("no route", || match routes(&fleet) {
            routes if routes.contains("10.244.77.0/24") => Err(routes),
            _ => Ok(()),
        });
    }

    // What somebody takes away is brought back, whoever is the first.
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
    let before = routes(&fleet);
    fleet.node(0).netns.exec("ip route flush proto 102");
    until("routes", || match routes(&fleet) {
        routes if routes == before => Ok(()),
        routes => Err(routes),
    });
    until("way", || if reaches(&near.netns, far.v4()) { Ok(()) } else { Err(String::new()) });

    // Nothing goes on between them: an event of the one is no work for the other.
    let applies = || fleet.metric(0, "flatnet_agent_applies_total{outcome=\"ok\"}");
    let quiet = until("quiet", || {
        let count = applies();
        std::thread::sleep(std::time::Duration::from_secs(2));
        if applies() == count { Ok(count) } else { Err(format!("{count}")) }
    });
    sync.check().expect("it runs");
    let said = fs::read_to_string(own.join("sync.log")).expect("a log");
    for log in [said.as_str(), &fleet.log(0)[began..]] {
        // Members of etcd may choose a leader meanwhile.
        let mut lines = log.lines().filter(|line| !line.contains("the source "));
        assert!(
            !lines.any(|line| line.contains("everything is looked at") || line.contains("rror")),
            "{quiet}: {log}"
        );
    }

    // One is enough, whichever it is.
    fleet.kill(0);
    fleet.node(0).netns.exec("ip route flush proto 102");
    until("routes", || match routes(&fleet) {
        routes if routes == before => Ok(()),
        routes => Err(routes),
    });
}
