//! Verbs that die after each step, and the verbs that come after them.

use std::path::Path;

use super::*;
use crate::disk::{Disk, Locked};
use crate::error::Error;
use crate::fixture::{Fixture, NETWORK, NODE, addresses, attachment, key};
use crate::lock::Inode;

/// A store whose process is killed after some changes: nothing it does later happens.
struct Dies<'a> {
    inner: Locked<'a>,
    left: usize,
}

impl Dies<'_> {
    fn step(&mut self) -> Result<()> {
        let killed = || Error::Folder { path: Path::new("/").to_owned(), why: "killed" };
        self.left = self.left.checked_sub(1).ok_or_else(killed)?;
        Ok(())
    }
}

impl Store for Dies<'_> {
    fn cursor(&self) -> Cursor {
        self.inner.cursor()
    }
    fn seed(&self) -> u64 {
        self.inner.seed()
    }
    fn set_cursor(&mut self, cursor: &Cursor) -> Result<()> {
        self.step()?;
        self.inner.set_cursor(cursor)
    }
    fn holder(&self, address: IpAddr) -> Result<Option<Inode>> {
        self.inner.holder(address)
    }
    fn held(&self) -> Result<Vec<IpAddr>> {
        self.inner.held()
    }
    fn put(&mut self, key: &Key, record: &Record) -> Result<LeaseFile> {
        self.step()?;
        self.inner.put(key, record)
    }
    fn claim(&mut self, key: &Key, address: IpAddr) -> Result<()> {
        self.step()?;
        self.inner.claim(key, address)
    }
    fn free(&mut self, address: IpAddr) -> Result<()> {
        self.step()?;
        self.inner.free(address)
    }
    fn remove(&mut self, key: &Key) -> Result<()> {
        self.step()?;
        self.inner.remove(key)
    }
}

const RANGES: [&str; 2] = ["10.1.0.0/29", "fd00::/125"];

/// A node where another container lives.
fn node() -> (Fixture, Disk) {
    let fixture = Fixture::new(&RANGES);
    fixture.add("other", &[]).unwrap();
    let disk = Disk::existing(fixture.state.path(), NETWORK, NODE).unwrap().unwrap();
    (fixture, disk)
}

/// An ADD of `c1` that is killed after `steps` changes; true if it came to its end.
fn add(fixture: &Fixture, disk: &Disk, steps: usize, requested: &[&str]) -> bool {
    let (earlier, inner) = disk.lock_with_lease(&key("c1")).unwrap();
    let mut store = Dies { inner, left: steps };
    let requested = addresses(requested);
    let choice =
        choose(&store, &fixture.ranges, &requested, earlier.as_ref(), &mut |_| None).unwrap();
    take(&mut store, &key("c1"), &attachment("c1"), choice, earlier).is_ok()
}

/// A DEL of `c1` that is killed after `steps` changes; true if it came to its end.
fn delete(disk: &Disk, steps: usize) -> bool {
    let (lease, inner) = disk.lock_with_lease(&key("c1")).unwrap();
    give_back(&mut Dies { inner, left: steps }, &key("c1"), &lease.unwrap()).is_ok()
}

/// Runs every kind of verb on the state that `prepare` leaves when it is killed after 0, 1, 2, ...
/// changes, until it no longer is. Returns how many changes it takes.
fn after_each_step(prepare: impl Fn(&Fixture, &Disk, usize) -> bool) -> usize {
    for steps in 0.. {
        let mut finished = false;
        let mut state = || {
            let (fixture, disk) = node();
            finished = prepare(&fixture, &disk, steps);
            fixture
        };
        // The same ADD again: whole, and apart from the other container's addresses.
        let fixture = state();
        let got = fixture.add("c1", &[]).unwrap();
        let held = fixture.audit();
        assert_eq!(held["c1"], got, "after {steps} steps");
        assert_eq!(held["other"], addresses(&["10.1.0.1", "fd00::1"]));
        // Another ADD that takes what was left over, then the DEL: it takes nothing from that one.
        let fixture = state();
        let wanted = fixture.add("c2", &["10.1.0.2"]);
        fixture.leases.release(&key("c1"), None).unwrap();
        let held = fixture.audit();
        assert_eq!(held.get("c2"), wanted.as_ref().ok(), "after {steps} steps");
        assert_eq!(held.get("c1"), None, "after {steps} steps");
        // GC that knows the other one only.
        let fixture = state();
        let other = |candidate: &crate::Candidate| candidate.key == Some(key("other"));
        let reclaimed = fixture.leases.reclaim(&mut { other }).unwrap();
        assert!(reclaimed.errors.is_empty(), "{:?}", reclaimed.errors);
        assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["other"]);
        if finished {
            return steps;
        }
    }
    unreachable!()
}

#[test]
fn an_add_may_be_killed_after_every_step() {
    // Cursor, lease, two addresses.
    assert_eq!(after_each_step(|fixture, disk, steps| add(fixture, disk, steps, &[])), 4);
}

#[test]
fn a_repeated_add_with_other_addresses_may_be_killed_after_every_step() {
    let steps = after_each_step(|fixture, disk, steps| {
        fixture.add("c1", &["10.1.0.4"]).unwrap();
        add(fixture, disk, steps, &["10.1.0.5", "fd00::5"])
    });
    // Two addresses freed, the lease replaced, two addresses taken.
    assert_eq!(steps, 5);
}

#[test]
fn a_del_may_be_killed_after_every_step() {
    let steps = after_each_step(|fixture, disk, steps| {
        fixture.add("c1", &[]).unwrap();
        delete(disk, steps)
    });
    assert_eq!(steps, 3);
}

#[test]
fn a_failing_add_takes_back_what_it_did() {
    let (fixture, disk) = node();
    let (_, mut locked) = disk.lock_with_lease(&key("c1")).unwrap();
    // The second address turns out to be taken, against all probes.
    let choice = (addresses(&["10.1.0.2", "fd00::1"]), Cursor::default());
    let error = take(&mut locked, &key("c1"), &attachment("c1"), choice, None).unwrap_err();
    let path = fixture.address_path("fd00::1");
    let text = format!("cannot take the address {}: File exists (os error 17)", path.display());
    assert_eq!((error.code(), error.to_string()), (5, text));
    drop(locked);
    assert_eq!(fixture.audit().into_keys().collect::<Vec<_>>(), ["other"]);
}
