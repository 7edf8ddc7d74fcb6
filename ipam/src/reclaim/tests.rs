//! What is reclaimed, what is passed by, and that no file keeps the others from it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::fixture::{Fixture, addresses, attachment, key};

fn containers(fixture: &Fixture) -> Vec<String> {
    let listing = fixture.leases.list().unwrap();
    let mut ids: Vec<_> =
        listing.leases.into_iter().map(|lease| lease.attachment.container_id).collect();
    ids.sort();
    ids
}

#[test]
fn the_dead_are_reclaimed_and_the_living_stay() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/125"]);
    for container in ["a", "b", "c"] {
        fixture.add(container, &[]).unwrap();
    }
    let mut asked = Vec::new();
    let reclaimed = fixture.leases.reclaim(&mut |candidate| {
        asked.push(candidate.addresses.clone());
        candidate.key != Some(key("b"))
    });
    let reclaimed = reclaimed.unwrap();
    asked.sort();
    let expected = [["10.1.0.1", "fd00::1"], ["10.1.0.2", "fd00::2"], ["10.1.0.3", "fd00::3"]];
    assert_eq!(asked, expected.map(|pair| addresses(&pair)));
    let removed = Candidate {
        key: Some(key("b")),
        record: Some(Record {
            attachment: attachment("b"),
            addresses: addresses(&["10.1.0.2", "fd00::2"]),
        }),
        addresses: addresses(&["10.1.0.2", "fd00::2"]),
        written: reclaimed.removed[0].written,
    };
    assert!(removed.written.unwrap().elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!(reclaimed.removed, [removed]);
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn an_add_under_way_is_passed_by_without_asking() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    let lease = fixture.begin("a", &[]).unwrap();
    let mut asked = 0;
    let mut dead = |_: &Candidate| {
        asked += 1;
        false
    };
    assert!(fixture.leases.reclaim(&mut dead).unwrap().removed.is_empty());
    assert_eq!(containers(&fixture), ["a"]);
    lease.commit();
    assert_eq!(fixture.leases.reclaim(&mut dead).unwrap().removed.len(), 1);
    assert_eq!(asked, 1);
    assert!(fixture.audit().is_empty());
}

#[test]
fn damaged_files_are_told_listed_and_reclaimed() {
    for damage in ["", "\0\0\0\0", "{\"containerID\":", "a foreign file"] {
        let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/125"]);
        fixture.add("a", &[]).unwrap();
        fixture.add("b", &[]).unwrap();
        fs::write(fixture.lease_path("a"), damage).unwrap();
        let listing = fixture.leases.list().unwrap();
        assert_eq!(listing.leases.len(), 1);
        let text = listing.broken[0].to_string();
        let start = format!("{} is not a lease: ", fixture.lease_path("a").display());
        assert!(listing.broken.len() == 1 && text.starts_with(&start), "{text}");

        // Its key and its addresses are still known: enough to look for the veth and the routes.
        let mut seen = None;
        let reclaimed = fixture.leases.reclaim(&mut |candidate| {
            if candidate.record.is_none() {
                seen = Some(candidate.clone());
            }
            candidate.record.is_some()
        });
        assert!(reclaimed.unwrap().errors.is_empty());
        let (key, addresses) = (Some(key("a")), addresses(&["10.1.0.1", "fd00::1"]));
        let seen = seen.unwrap();
        assert_eq!((seen.key, seen.record, seen.addresses), (key, None, addresses));
        assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}

#[test]
fn an_address_without_its_lease_is_one_candidate_with_its_sister() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/125"]);
    fixture.add("a", &[]).unwrap();
    fs::remove_file(fixture.lease_path("a")).unwrap();
    let broken = fixture.leases.list().unwrap().broken;
    assert_eq!(broken.len(), 1);
    let why = "the lease of this address is gone; GC removes it when no pod uses its address";
    assert!(broken[0].to_string().ends_with(why), "{}", broken[0]);

    let mut alive = Vec::new();
    fixture
        .leases
        .reclaim(&mut |candidate| {
            alive.push(candidate.clone());
            true
        })
        .unwrap();
    assert_eq!(alive.len(), 1);
    assert_eq!(alive[0].key, None);
    assert_eq!(alive[0].record.as_ref().unwrap().attachment, attachment("a"));
    assert_eq!(alive[0].addresses, addresses(&["10.1.0.1", "fd00::1"]));
    fixture.leases.reclaim(&mut |_| false).unwrap();
    assert!(fixture.audit().is_empty());
}

#[test]
fn an_address_reserved_by_hand_is_a_candidate_without_a_lease() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fs::write(fixture.address_path("10.1.0.1"), "").unwrap();
    assert_eq!(fixture.add("a", &[]).unwrap(), addresses(&["10.1.0.2"]));
    let reclaimed = fixture.leases.reclaim(&mut |candidate| candidate.record.is_some()).unwrap();
    let [Candidate { key, record, addresses: reserved, .. }] = &reclaimed.removed[..] else {
        panic!("{reclaimed:?}");
    };
    assert_eq!((key, record, reserved), (&None, &None, &addresses(&["10.1.0.1"])));
}

#[test]
fn a_file_that_fails_does_not_stop_the_others() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("a", &[]).unwrap();
    let link = fixture.address_path("10.1.0.6");
    symlink("/etc/hostname", &link).unwrap();
    fs::create_dir(fixture.lease_path("z")).unwrap();
    let reclaimed = fixture.leases.reclaim(&mut |_| false).unwrap();
    assert_eq!(reclaimed.removed.iter().filter_map(|c| c.record.clone()).count(), 1);
    let errors: Vec<String> = reclaimed.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().any(|text| text.contains("it is a symbolic link")), "{errors:?}");
    assert!(errors.iter().any(|text| text.contains("cannot remove")), "{errors:?}");
    assert!(fs::symlink_metadata(link).is_ok());
    assert_eq!(fixture.begin("b", &[]).unwrap().addresses().len(), 1);
}

#[test]
fn names_that_are_not_ours_are_left_alone() {
    let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/125"]);
    let strange =
        ["addresses/README", "addresses/fd00:0::1", "leases/README", "leases/x.new", "stamp"];
    for name in strange {
        fs::write(fixture.folder().join(name), "mine").unwrap();
    }
    fixture.add("a", &[]).unwrap();
    let reclaimed = fixture.leases.reclaim(&mut |_| false).unwrap();
    assert!(reclaimed.errors.is_empty(), "{:?}", reclaimed.errors);
    assert_eq!(reclaimed.removed.len(), 1);
    assert_eq!(reclaimed.removed[0].addresses, addresses(&["10.1.0.1", "fd00::1"]));
    for name in strange {
        assert_eq!(fs::read(fixture.folder().join(name)).unwrap(), b"mine");
    }
}
