//! The verbs' view: leases come, stay, come again, go.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::fixture::{Fixture, NETNS, NETWORK, NODE, addresses, attachment, key, parse};

#[test]
fn a_lease_comes_and_goes() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/64"]);
    assert_eq!(fixture.add("a", &[]).unwrap(), addresses(&["10.1.0.1", "fd00::1"]));
    assert_eq!(fixture.add("b", &["fd00::9"]).unwrap(), addresses(&["10.1.0.2", "fd00::9"]));
    let record = fixture.leases.release(&key("a"), None).unwrap().unwrap();
    assert_eq!(record.attachment, attachment("a"));
    assert_eq!(record.addresses, addresses(&["10.1.0.1", "fd00::1"]));
    assert_eq!(fixture.leases.release(&key("a"), None).unwrap(), None);
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["b"]);
    // Not the one that was just freed.
    assert_eq!(fixture.add("c", &[]).unwrap(), addresses(&["10.1.0.3", "fd00::2"]));
}

#[test]
fn an_add_that_fails_leaves_nothing() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    drop(fixture.begin("a", &[]).unwrap());
    assert!(fixture.audit().is_empty());
    fixture.begin("a", &[]).unwrap().release().unwrap();
    assert!(fixture.audit().is_empty());
}

#[test]
fn a_repeated_add_gets_the_same_and_never_loses_it() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/64"]);
    let first = fixture.add("a", &[]).unwrap();
    let inode = fs::metadata(fixture.lease_path("a")).unwrap().ino();
    assert_eq!(fixture.add("a", &[]).unwrap(), first);
    assert_eq!(fs::metadata(fixture.lease_path("a")).unwrap().ino(), inode);
    // It fails: the lease was there before, a pod may live on it.
    drop(fixture.begin("a", &[]).unwrap());
    assert_eq!(fixture.audit()["a"], first);
    let text = fs::read_to_string(fixture.lease_path("a")).unwrap();
    fs::write(fixture.lease_path("a"), text.replace(&NETNS.to_string(), "1")).unwrap();
    drop(fixture.begin("a", &[]).unwrap());
    assert_eq!(fixture.audit()["a"], first);
    fixture.begin("a", &[]).unwrap().release().unwrap();
    assert!(fixture.audit().is_empty());
}

#[test]
fn a_repeated_add_repairs_its_lease() {
    type Wreck = fn(&Fixture);
    let wrecks: [(&str, Wreck); 4] = [
        ("an address lost", |f| fs::remove_file(f.address_path("10.1.0.1")).unwrap()),
        ("all addresses lost", |f| {
            fs::remove_file(f.address_path("10.1.0.1")).unwrap();
            fs::remove_file(f.address_path("fd00::1")).unwrap();
        }),
        ("made in another namespace", |f| {
            let text = fs::read_to_string(f.lease_path("a")).unwrap();
            fs::write(f.lease_path("a"), text.replace(&NETNS.to_string(), "1")).unwrap();
        }),
        ("intact", |_| {}),
    ];
    for (what, wreck) in wrecks {
        let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/64"]);
        let first = fixture.add("a", &[]).unwrap();
        fixture.add("b", &[]).unwrap();
        wreck(&fixture);
        assert_eq!(fixture.add("a", &[]).unwrap(), first, "{what}");
        assert_eq!(fixture.audit().len(), 2, "{what}");
        assert_eq!(fixture.leases.list().unwrap().leases[0].attachment.netns, NETNS);
    }
}

#[test]
fn an_address_of_the_machine_is_given_to_no_attachment() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/64"]);
    let machine = addresses(&["10.1.0.1", "fd00::2"]);
    let add = |container: &str, requested: &[&str]| {
        let (attachment, requested) = (attachment(container), addresses(requested));
        let ranges = &fixture.ranges;
        let request = Request { attachment: &attachment, ranges, requested: &requested };
        let mut own = |address| machine.contains(&address).then(|| "cni0".to_owned());
        let lease = fixture.leases.allocate(&key(container), &request, &mut |_| true, &mut own)?;
        let given = lease.addresses().to_vec();
        lease.commit();
        Ok::<_, Error>(given)
    };
    assert_eq!(add("a", &[]).unwrap(), addresses(&["10.1.0.2", "fd00::1"]));
    assert_eq!(add("b", &[]).unwrap(), addresses(&["10.1.0.3", "fd00::3"]));
    let error = add("c", &["10.1.0.1"]).unwrap_err();
    assert_eq!(error.code(), 101);
    assert!(error.to_string().contains("10.1.0.1 is taken by cni0"), "{error}");
    assert_eq!(fixture.leases.list().unwrap().leases.len(), 2);
    assert_eq!(add("c", &["10.1.0.4"]).unwrap(), addresses(&["10.1.0.4", "fd00::4"]));
}

#[test]
fn a_repeated_add_follows_ranges_and_request() {
    let mut fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("a", &[]).unwrap();
    assert_eq!(fixture.add("a", &["10.1.0.5"]).unwrap(), addresses(&["10.1.0.5"]));
    // Without a request, what it has is as good as any.
    assert_eq!(fixture.add("a", &[]).unwrap(), addresses(&["10.1.0.5"]));
    fixture.ranges = parse(&["10.2.0.0/30", "fd00::/127"]);
    let others = fixture.add("a", &[]).unwrap();
    assert!(fixture.ranges[0].gives(others[0]), "{others:?}");
    assert_eq!(others[1..], addresses(&["fd00::1"]));
    assert_eq!(fixture.audit().len(), 1);
}

#[test]
fn after_a_reboot_addresses_begin_somewhere_else() {
    let first = |_| {
        let fixture = Fixture::after_a_reboot(&["10.1.0.0/16", "fd00::/64"]);
        let first = fixture.add("a", &[]).unwrap();
        assert!(fixture.ranges.iter().zip(&first).all(|(range, a)| range.gives(*a)), "{first:?}");
        // From there on they follow each other.
        let second = fixture.add("b", &[]).unwrap();
        let next = |(range, a): (&Range, &IpAddr)| range.next_after(Some(*a));
        let next: Vec<_> = fixture.ranges.iter().zip(&first).map(next).collect();
        assert!(next.iter().zip(&second).all(|(next, a)| next.is_none_or(|next| next == *a)));
        first
    };
    let starts: std::collections::BTreeSet<_> = (0..8).map(first).collect();
    assert!(starts.len() > 4, "{starts:?}");
}

#[test]
fn an_address_lost_to_another_is_replaced() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("a", &[]).unwrap();
    fs::remove_file(fixture.address_path("10.1.0.1")).unwrap();
    fixture.add("b", &["10.1.0.1"]).unwrap();
    assert_eq!(fixture.add("a", &[]).unwrap(), addresses(&["10.1.0.2"]));
    assert_eq!(fixture.audit()["b"], addresses(&["10.1.0.1"]));
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let fixture = Fixture::new(&["10.1.0.0/30"]);
    fixture.add("a", &[]).unwrap();
    let range = describe(fixture.ranges.iter());
    assert!(range.starts_with("10.1.0.0/30 (10.1.0."), "{range}");
    let cases: [(&[&str], u32, String); 3] = [
        (
            &["10.1.0.1"],
            101,
            "the requested address 10.1.0.1 is taken by interface eth0 of container a: request \
             another, or delete that one"
                .to_owned(),
        ),
        (
            &["10.9.0.1"],
            7,
            format!(
                "the requested address 10.9.0.1 is not one that node node-a gives to pods: choose \
                 one of {range}"
            ),
        ),
        (
            &["10.1.0.2", "10.1.0.1"],
            7,
            "cannot give both requested addresses 10.1.0.2 and 10.1.0.1: request one address of \
             each family"
                .to_owned(),
        ),
    ];
    for (requested, code, text) in cases {
        let error = fixture.begin("b", requested).unwrap_err();
        assert_eq!((error.code(), error.to_string()), (code, text));
    }
    fixture.add("b", &[]).unwrap();
    let error = fixture.begin("c", &[]).unwrap_err();
    let text =
        format!("no address left for a pod on node node-a in {range}: add a range to this node");
    assert_eq!((error.code(), error.to_string()), (100, text));
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_full_range_and_a_requested_address_reclaim_the_dead_first() {
    let fixture = Fixture::new(&["10.1.0.0/30"]);
    fixture.add("dead", &[]).unwrap();
    fixture.add("living", &[]).unwrap();
    let mut alive = |candidate: &Candidate| candidate.key != Some(key("dead"));
    let lease = fixture.begin_among("c", &[], &mut alive).unwrap();
    assert_eq!(lease.addresses(), addresses(&["10.1.0.1"]));
    drop(lease);
    fixture.add("dead", &["10.1.0.1"]).unwrap();
    let lease = fixture.begin_among("c", &["10.1.0.1"], &mut alive).unwrap();
    assert_eq!(lease.addresses(), addresses(&["10.1.0.1"]));
    lease.commit();
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["c", "living"]);
}

#[test]
fn del_gives_back_a_damaged_lease_with_all_its_addresses() {
    for damage in ["", "\0\0", "{}", "not a lease at all"] {
        let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/64"]);
        fixture.add("a", &[]).unwrap();
        fixture.add("b", &[]).unwrap();
        fs::write(fixture.lease_path("a"), damage).unwrap();
        assert_eq!(fixture.leases.release(&key("a"), None).unwrap(), None);
        assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["b"], "{damage:?}");
    }
}

#[test]
fn del_that_does_not_know_its_node_keeps_to_its_namespace() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("a", &[]).unwrap();
    assert_eq!(fixture.leases.release(&key("a"), Some(NETNS + 1)).unwrap(), None);
    assert_eq!(fixture.audit().len(), 1);
    assert!(fixture.leases.release(&key("a"), Some(NETNS)).unwrap().is_some());
    // Whose a damaged one is cannot be told: it waits for GC.
    fixture.add("a", &[]).unwrap();
    fs::write(fixture.lease_path("a"), "").unwrap();
    assert_eq!(fixture.leases.release(&key("a"), Some(NETNS)).unwrap(), None);
    assert!(fixture.lease_path("a").exists());
}

#[test]
fn nodes_are_found_without_a_range_file() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    Leases::create(fixture.state.path(), NETWORK, "node-b").unwrap();
    Leases::create(fixture.state.path(), "another", "node-c").unwrap();
    fs::write(fixture.state.path().join("pods/file"), "").unwrap();
    let nodes = |network: &str| nodes_of(fixture.state.path(), network).unwrap();
    assert_eq!(nodes(NETWORK), [NODE, "node-b"]);
    assert_eq!(nodes("none"), Vec::<String>::new());
    assert_eq!(nodes_of(Path::new("/nowhere/at/all"), NETWORK).unwrap(), Vec::<String>::new());
}

#[test]
fn a_folder_that_cannot_be_opened_hides_no_other() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    Leases::create(fixture.state.path(), NETWORK, "node-c").unwrap();
    let linked = fixture.state.path().join("pods/node-b");
    fs::create_dir(&linked).unwrap();
    fs::write(linked.join("leases"), "").unwrap();
    let found: Vec<_> = Leases::everywhere(fixture.state.path(), NETWORK)
        .map(|leases| leases.map(|leases| leases.node().to_owned()).map_err(|e| e.to_string()))
        .collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!((found[0].as_deref(), found[2].as_deref()), (Ok(NODE), Ok("node-c")));
    let error = found[1].as_ref().unwrap_err();
    assert!(error.contains("pods/node-b/leases: it is not a folder"), "{error}");
}

#[test]
fn networks_with_names_of_any_length_have_folders() {
    let state = tempfile::tempdir().unwrap();
    let long = "n".repeat(3000);
    Leases::create(state.path(), &long, NODE).unwrap();
    assert_eq!(nodes_of(state.path(), &long).unwrap(), [NODE]);
    assert!(Leases::existing(state.path(), &long, NODE).unwrap().is_some());
}

#[test]
fn leases_for_another_main_plugin_are_left_to_it() {
    let fixture = Fixture::new(&["10.1.0.0/30"]);
    let delegated = Holder { veth: String::new(), ..attachment("bridged") };
    let request = Request { attachment: &delegated, ranges: &fixture.ranges, requested: &[] };
    let lease =
        fixture.leases.allocate(&key("bridged"), &request, &mut |_| true, &mut |_| None).unwrap();
    lease.commit();
    fixture.add("ours", &[]).unwrap();
    // The kernel shows nothing of it, and yet its address may be in use.
    let mut asked = Vec::new();
    let mut dead = |candidate: &Candidate| {
        asked.push(candidate.addresses.clone());
        false
    };
    let requested = addresses(&["10.1.0.1"]);
    let request = Request { requested: &requested, ..request };
    let refused =
        fixture.leases.allocate(&key("new"), &request, &mut dead, &mut |_| None).unwrap_err();
    assert_eq!(refused.code(), 101, "{refused}");
    fixture.leases.reclaim(&mut dead).unwrap();
    assert_eq!(asked, [addresses(&["10.1.0.2"])]);
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["bridged"]);
    // Its own GC asks for nothing else.
    fixture.add("ours", &[]).unwrap();
    let mut alive = true;
    for expected in [vec!["bridged", "ours"], vec!["ours"]] {
        let mut asked = Vec::new();
        let collected = fixture.leases.collect(&mut |record| {
            asked.push(record.attachment.container_id.clone());
            alive
        });
        assert!(collected.unwrap().errors.is_empty());
        assert_eq!(asked, ["bridged"]);
        assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), expected);
        alive = false;
    }
}

#[test]
fn errors_name_what_can_be_had() {
    let ranges = ["10.244.1.0/24", "fd00::/64"].map(|text| Range::parse(text).unwrap());
    assert_eq!(
        describe(ranges.iter()),
        "10.244.1.0/24 (10.244.1.1 to 10.244.1.254), fd00::/64 (fd00::1 to fd00::ffff:ffff:ffff:ffff)"
    );
    assert_eq!(describe([].iter()), "no range at all");
}
