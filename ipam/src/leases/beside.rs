//! Calls side by side.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::fixture::{Fixture, key};

#[test]
fn del_waits_for_the_add_of_the_same_attachment_alone() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("b", &[]).unwrap();
    let lease = fixture.begin("a", &[]).unwrap();
    // Another attachment's verbs do not wait.
    assert!(fixture.leases.release(&key("b"), None).unwrap().is_some());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(fixture.leases.release(&key("a"), None)).unwrap());
        let early = receiver.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "DEL ran inside its ADD: {early:?}");
        lease.commit();
        let late = receiver.recv_timeout(Duration::from_secs(120)).unwrap();
        assert!(late.unwrap().is_some());
    });
    assert!(fixture.audit().is_empty());
}

#[test]
fn side_by_side_no_address_is_given_twice_and_none_is_lost() {
    let fixture = Fixture::new(&["10.1.0.0/27"]);
    // Ten of thirty are left for eight at a time.
    for n in 0..20 {
        fixture.add(&format!("settled-{n}"), &[]).unwrap();
    }
    let before = fixture.audit();
    let in_use = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (fixture, in_use) = (&fixture, &in_use);
            scope.spawn(move || {
                for round in 0..50 {
                    let container = format!("c-{worker}-{}", round % 3);
                    let lease = fixture.begin(&container, &[]).unwrap();
                    let address = lease.addresses()[0];
                    assert!(in_use.lock().unwrap().insert(address), "{address} given twice");
                    thread::yield_now();
                    assert!(in_use.lock().unwrap().remove(&address));
                    match round % 3 {
                        0 => drop(lease),
                        1 => lease.release().unwrap(),
                        _ => {
                            // Out of `in_use` first: the next may get it as soon as it is free.
                            lease.commit();
                            fixture.leases.release(&key(&container), None).unwrap().unwrap();
                        }
                    }
                }
            });
        }
        // And one that reclaims whatever is not under way or settled.
        let fixture = &fixture;
        scope.spawn(move || {
            for _ in 0..50 {
                let mut alive = |_: &Candidate| true;
                assert!(fixture.leases.reclaim(&mut alive).unwrap().errors.is_empty());
            }
        });
    });
    assert_eq!(fixture.audit(), before);
}

#[test]
fn the_same_attachment_side_by_side_ends_with_one_lease_or_none() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    thread::scope(|scope| {
        for worker in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for _ in 0..50 {
                    if worker % 2 == 0 {
                        fixture.add("a", &[]).unwrap();
                    } else {
                        fixture.leases.release(&key("a"), None).unwrap();
                    }
                }
            });
        }
    });
    assert!(fixture.audit().len() <= 1);
    fixture.leases.release(&key("a"), None).unwrap();
    assert!(fixture.audit().is_empty());
}

#[test]
fn a_visitor_sees_what_stands_and_nothing_that_is_under_way() {
    let fixture = Fixture::new(&["10.1.0.0/29"]);
    fixture.add("a", &[]).unwrap();
    let under_way = fixture.begin("b", &[]).unwrap();
    fs::write(fixture.folder().join("leases").join(key("c").as_str()), "{").unwrap();
    let mut seen = Vec::new();
    let broken = fixture.leases.visit(&|_| true, &mut |record| {
        seen.push(record.attachment.container_id.clone());
        let path = fixture.folder().join("leases").join(key("a").as_str());
        assert!(matches!(LeaseFile::attempt(&path), Ok(Attempt::UnderWay)), "locked meanwhile");
    });
    assert_eq!(broken.unwrap().len(), 1, "the damaged one");
    assert_eq!(seen, ["a"]);
    drop(under_way);
}
