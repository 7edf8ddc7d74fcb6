//! Who may ask etcd, and what is told of one who may not.

use std::fs;
use std::net::IpAddr;

use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::etcd::certificates::Certificates;
use flatnet_cluster::patience::until;
use flatnet_tests::probe::Flow;

use crate::AFTER;

/// How much a member may have on its disk, in bytes.
const QUOTA: u64 = 8 << 20;

/// The same options, with another value for one of them.
fn with(access: &[String], option: &str, value: String) -> Vec<String> {
    let mut access = access.to_owned();
    let place = access.iter().position(|word| word == option).expect("an option") + 1;
    access[place] = value;
    access
}

/// Makes users of these names and roles, by their certificates or with a password, and has rights count.
fn have_rights_count(fleet: &Fleet) {
    let etcd = &fleet.etcd;
    for user in ["root", "reader", "node-c", "stranger"] {
        etcd.certificates.client(user);
    }
    // As docs/etcd.md has it.
    for line in [
        "user add root --no-password",
        "user grant-role root root",
        "role add pods-read",
        "role grant-permission pods-read --prefix=true read /flatnet/pods/",
        "role add pods",
        "role grant-permission pods --prefix=true readwrite /flatnet/pods/",
        "role add node-c",
        "role grant-permission node-c --prefix=true read /flatnet/pods/",
        "role grant-permission node-c --prefix=true readwrite /flatnet/pods/blocks/",
        "role grant-permission node-c readwrite /flatnet/pods/nodes/node-c",
        "user add agent --new-user-password=s3cret",
        "user grant-role agent pods",
        "user add reader --no-password",
        "user grant-role reader pods-read",
        "user add node-c --no-password",
        "user grant-role node-c node-c",
        "auth enable",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        if let Err(error) = etcd.try_ctl(&words) {
            // That of root is made by the server where it is not.
            assert!(error.contains("already exists"), "{line}: {error}");
        }
    }
}

#[test]
fn an_agent_that_may_not_says_so_and_goes_on_when_it_may() {
    // A token lives for no longer than this.
    let mut fleet = Fleet::new(3, &["--auth-token-ttl=2"]);
    let access = fleet.access();

    // A certificate of another authority is not taken for etcd's.
    let others = fleet.cluster.folder().join("others");
    let others = Certificates::new(&others, &[IpAddr::from([192, 0, 2, 1])]);
    fleet.start_with(0, &with(&access, "--cacert", others.file("ca.crt")));
    fleet.until_said(0, "invalid peer certificate");
    fleet.kill(0);

    have_rights_count(&fleet);
    let file = |name: &str| fleet.etcd.certificates.file(name);
    let as_user = |user: &str| {
        let access = with(&access, "--cert", file(&format!("{user}.crt")));
        with(&access, "--key", file(&format!("{user}.key")))
    };
    let (stranger, reader, node_c) = (as_user("stranger"), as_user("reader"), as_user("node-c"));

    // Somebody whom etcd does not know, and somebody who may read alone.
    fleet.start_with(1, &stranger);
    fleet.until_said(1, "reading /flatnet/pods/ of etcd: etcdserver: ");
    fleet.kill(1);
    fleet.start_with(1, &reader);
    fleet.until_said(1, "writing /flatnet/pods/nodes/node-b: etcdserver: permission denied");
    assert_eq!(fleet.metric(1, "flatnet_agent_source_connected"), 1.0);
    // The rights come, and it goes on by itself.
    let grant = ["user", "grant-role", "reader", "pods"];
    fleet.etcd.try_ctl_as("root", &grant).expect("a role more");
    fleet.until_ready(1);

    // A user with a password, whose token runs out again and again.
    let password = fleet.cluster.folder().join("password");
    fs::write(&password, "s3cret\n").expect("write a password");
    let user =
        ["--user", "agent", "--password-file", &password.display().to_string()].map(str::to_owned);
    fleet.start_with(0, &[&reader[..], &user[..]].concat());
    fleet.until_ready(0);
    // With rights to its own keys alone.
    fleet.start_with(2, &node_c);
    fleet.until_ready(2);
    fleet.until_listed(0, &["node-a", "node-b", "node-c"]);
    let near = fleet.node(0).add("near");
    let far = fleet.node(2).add("far");
    Fleet::until_reached(&near, &far);
    std::thread::sleep(std::time::Duration::from_secs(4));
    fleet.etcd.try_ctl_as("root", &["del", "/flatnet/pods/nodes/node-a"]).expect("a key less");
    until("key of node-a", || {
        let keys = fleet.etcd.try_ctl_as("root", &["get", "/flatnet/pods/nodes/node-a"])?;
        if keys.contains("192.168.50.1") { Ok(()) } else { Err(fleet.log(0)) }
    });
    let foreign = fleet.etcd.try_ctl_as("node-c", &["put", "/flatnet/pods/nodes/node-a", "{}"]);
    assert!(foreign.expect_err("a foreign key").contains("permission denied"));
}

#[test]
fn a_full_etcd_is_told_and_agents_go_on_when_it_has_room() {
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let (mut fleet, [near, far]) = Fleet::with_two(3, &[&quota]);
    let flow = Flow::start(&near.netns, &far.netns, far.v4());

    let large = "x".repeat(100_000);
    let full = (0..200).find_map(|_| fleet.etcd.try_ctl(&["put", "/large", &large]).err());
    assert!(full.expect("a quota").contains("database space exceeded"));
    fleet.start(2);
    fleet.until_said(2, "etcdserver: mvcc: database space exceeded");
    fleet.until_said(2, "its quota is full");
    let check = fleet.administer(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("quota is full") && check.status.code() == Some(1), "{said}");
    let meanwhile = fleet.node(1).add("meanwhile");
    Fleet::until_reached(&near, &meanwhile);

    let revision = fleet.etcd.status()[0]["header"]["revision"].to_string();
    fleet.etcd.ctl(&["compact", &revision]);
    // Each member drops what was compacted in its own time.
    until("room", || {
        fleet.etcd.ctl(&["defrag", "--cluster"]);
        let sizes = fleet.etcd.status().into_iter().map(|status| status["dbSize"].as_u64());
        let sizes: Vec<_> = sizes.collect();
        let room = sizes.iter().all(|size| size.is_some_and(|size| size < QUOTA / 2));
        if room { Ok(()) } else { Err(format!("{sizes:?}")) }
    });
    fleet.etcd.ctl(&["alarm", "disarm"]);
    fleet.until_ready(2);
    fleet.until_listed(0, &["node-a", "node-b", "node-c"]);
    let tally = flow.finish(AFTER);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}
