//! Leases that were lost with their folder, made again from what the kernel shows; and those that lie
//! under a name that the node has no more.
//!
//! What the kernel shows of an attachment may lack the container's ID, and so the key. Its lease is then
//! filed under the key's head, which the veth's name has; a caller that knows the whole key finds it there.

use std::collections::BTreeSet;

use crate::decision;
use crate::disk::{self, Locked};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::Record;
use crate::leases::Leases;
use crate::lock::{Attempt, LeaseFile};
use crate::store::Store;

/// What became of leases that were to be made again.
#[derive(Debug, Default)]
pub struct Restored {
    /// Those that were.
    pub leases: Vec<Record>,
    /// Why others could not be.
    pub errors: Vec<Error>,
}

/// What became of the leases under an earlier name.
#[derive(Debug, Default)]
pub struct TakenOver {
    /// Those that lie under the present name now.
    pub leases: Vec<Record>,
    /// Whether an ADD or DEL was under way for others, which therefore stay.
    pub under_way: bool,
    /// Why others could not be moved.
    pub errors: Vec<Error>,
}

impl Leases {
    /// Makes leases again of attachments that have none here: an ADD that knows of them may have come
    /// between. An address that another lease holds is taken from it, for the kernel leads it to this
    /// attachment.
    ///
    /// `stands` is asked about each when its lease is there, and must look at the kernel once more: a DEL
    /// that comes later finds the lease.
    pub fn restore(
        &self,
        lost: Vec<(Key, Record)>,
        stands: &mut dyn FnMut(&Record) -> bool,
    ) -> Result<Restored> {
        let mut locked = self.disk.lock()?;
        let known = heads(&locked)?;
        let mut done = Restored::default();
        for (key, record) in lost.into_iter().filter(|(key, _)| !known.contains(key.head())) {
            match restore(&mut locked, &key, &record, stands) {
                Ok(true) => done.leases.push(record),
                Ok(false) => {}
                Err(error) => done.errors.push(error),
            }
        }
        Ok(done)
    }

    /// Moves leases here that lie under an earlier name of this node: those of its own network namespace,
    /// whose inode is `netns`.
    pub fn take_over(&self, earlier: &Leases, netns: u64) -> Result<TakenOver> {
        let known = heads(&self.disk.lock()?)?;
        let mut done = TakenOver::default();
        for key in earlier.keys()? {
            let lease = match LeaseFile::attempt(&earlier.disk.lease(&key)) {
                Ok(Attempt::Locked(lease)) => lease,
                Ok(Attempt::Gone) => continue,
                Ok(Attempt::UnderWay) => {
                    done.under_way = true;
                    continue;
                }
                Err(error) => {
                    done.errors.push(error);
                    continue;
                }
            };
            // What is illegible is not moved; GC tells of it.
            let Ok(record) = lease.record() else { continue };
            if record.attachment.netns != netns {
                continue;
            }
            let moved = match known.contains(key.head()) {
                // As a move leaves it that was killed before its end.
                true => Ok(()),
                false => self.adopt(&key, &record),
            };
            let gone =
                moved.and_then(|()| decision::give_back(&mut earlier.disk.lock()?, &key, &lease));
            match gone {
                Ok(()) => done.leases.push(record),
                Err(error) => done.errors.push(error),
            }
        }
        Ok(done)
    }

    /// Files a lease here that is locked where it lies.
    fn adopt(&self, key: &Key, record: &Record) -> Result<()> {
        let mut locked = self.disk.lock()?;
        if disk::inode(&self.disk.lease(key))?.is_some() {
            return Ok(());
        }
        let lease = locked.put(key, record)?;
        decision::claim_all(&mut locked, key, lease, record.clone()).map(drop)
    }
}

fn heads(locked: &Locked<'_>) -> Result<BTreeSet<String>> {
    Ok(locked.keys()?.iter().map(|key| key.head().to_owned()).collect())
}

fn restore(
    locked: &mut Locked<'_>,
    key: &Key,
    record: &Record,
    stands: &mut dyn FnMut(&Record) -> bool,
) -> Result<bool> {
    let lease = locked.put(key, record)?;
    if !stands(record) {
        locked.remove(key)?;
        return Ok(false);
    }
    for &address in &record.addresses {
        locked.free(address)?;
    }
    decision::claim_all(locked, key, lease, record.clone()).map(|_| true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::{Fixture, NETNS, NETWORK, addresses, attachment, key};
    use crate::lease::{Holder, Pod};

    /// What the kernel shows of a pod of Kubernetes.
    fn seen(container: &str, has: &[&str]) -> (Key, Record) {
        let Holder { ifname, veth, netns, .. } = attachment(container);
        let pod = Pod { name: Some(container.into()), ..Pod::default() };
        let (container_id, sandbox) = (String::new(), None);
        let attachment =
            Holder { container_id, ifname, veth, netns, pod, sandbox, is_shaped: false };
        (key(container).less_tail(), Record { attachment, addresses: addresses(has) })
    }

    fn lose(fixture: &Fixture) {
        for part in ["leases", "addresses"] {
            let part = fixture.folder().join(part);
            fs::remove_dir_all(&part).unwrap();
            fs::create_dir(&part).unwrap();
        }
    }

    #[test]
    fn a_lost_lease_is_made_again_and_found_by_its_key() {
        let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/120"]);
        let had = fixture.add("a", &["10.1.0.1", "fd00::1"]).unwrap();
        lose(&fixture);
        let lost = seen("a", &["10.1.0.1", "fd00::1"]);
        let done = fixture.leases.restore(vec![lost.clone()], &mut |_| true).unwrap();
        assert_eq!((&done.leases[..], done.errors.len()), (&[lost.1.clone()][..], 0));
        assert_eq!(fixture.leases.get(&key("a")).unwrap(), Some(lost.1.clone()));
        assert_eq!(fixture.audit()[""], had);
        let another = fixture.add("b", &[]).unwrap();
        assert!(had.iter().all(|address| !another.contains(address)), "{another:?}");
        // A second time there is nothing to do, and an attachment that has a lease keeps it.
        let again = vec![lost.clone(), seen("b", &["10.1.0.6"])];
        assert_eq!(fixture.leases.restore(again, &mut |_| true).unwrap().leases, []);
        assert_eq!(fixture.audit()["b"], another);
        assert_eq!(fixture.leases.release(&key("a").less_tail(), None).unwrap(), Some(lost.1));
        assert_eq!(fixture.audit().len(), 1);
    }

    #[test]
    fn an_add_takes_it_up_under_the_whole_key() {
        let fixture = Fixture::new(&["10.1.0.0/29"]);
        fixture.add("before", &[]).unwrap();
        fixture.leases.restore(vec![seen("a", &["10.1.0.5"])], &mut |_| true).unwrap();
        assert_eq!(fixture.add("a", &[]).unwrap(), addresses(&["10.1.0.5"]));
        assert_eq!(fixture.audit()["a"], addresses(&["10.1.0.5"]));
        let keys = fixture.leases.keys().unwrap();
        assert!(keys.contains(&key("a")) && keys.len() == 2, "{keys:?}");
    }

    #[test]
    fn what_goes_meanwhile_is_not_made_again() {
        let fixture = Fixture::new(&["10.1.0.0/29"]);
        let lost = vec![seen("a", &["10.1.0.1"]), seen("b", &["10.1.0.2"])];
        let is_b = |record: &Record| record.attachment.pod.name.as_deref() == Some("b");
        let done = fixture.leases.restore(lost, &mut |record| is_b(record)).unwrap();
        assert_eq!(done.leases.len(), 1);
        assert_eq!(fixture.audit()[""], addresses(&["10.1.0.2"]));
    }

    #[test]
    fn the_kernel_says_whose_an_address_is() {
        let fixture = Fixture::new(&["10.1.0.0/29"]);
        fixture.add("stale", &["10.1.0.1"]).unwrap();
        // And one of whose lease only the address is left.
        fs::write(fixture.address_path("10.1.0.2"), "").unwrap();
        let lost = vec![seen("a", &["10.1.0.1"]), seen("b", &["10.1.0.2"])];
        let done = fixture.leases.restore(lost, &mut |_| true).unwrap();
        assert_eq!((done.leases.len(), done.errors.len()), (2, 0));
        fixture.leases.release(&key("stale"), None).unwrap();
        assert_eq!(fixture.leases.list().unwrap().leases.len(), 2);
        assert!(fixture.address_path("10.1.0.1").exists(), "it is not the stale one's to free");
    }

    #[test]
    fn leases_follow_a_node_to_its_new_name() {
        let fixture = Fixture::new(&["10.1.0.0/29", "fd00::/120"]);
        let had = fixture.add("a", &[]).unwrap();
        let under_way = fixture.begin("slow", &[]).unwrap();
        let renamed = Leases::create(fixture.state.path(), NETWORK, "new").unwrap();
        let elsewhere = renamed.take_over(&fixture.leases, NETNS + 1).unwrap();
        assert_eq!(elsewhere.leases, [], "another node's");
        let done = renamed.take_over(&fixture.leases, NETNS).unwrap();
        assert_eq!((done.leases.len(), done.under_way, done.errors.len()), (1, true, 0));
        let moved = renamed.list().unwrap();
        assert_eq!((moved.leases.len(), moved.broken.len()), (1, 0));
        assert_eq!(moved.leases[0].addresses, had);
        assert_eq!(fixture.leases.keys().unwrap(), [key("slow")]);
        under_way.commit();
        let done = renamed.take_over(&fixture.leases, NETNS).unwrap();
        assert_eq!((done.leases.len(), done.under_way), (1, false));
        assert_eq!(fixture.audit().len(), 0);
        for container in ["a", "slow"] {
            assert!(renamed.release(&key(container), Some(NETNS)).unwrap().is_some());
        }
        assert_eq!(fs::read_dir(renamed.disk.addresses()).unwrap().count(), 0);
    }

    #[test]
    fn a_move_that_was_killed_half_way_is_ended() {
        let fixture = Fixture::new(&["10.1.0.0/29"]);
        fixture.add("a", &["10.1.0.1"]).unwrap();
        let renamed = Leases::create(fixture.state.path(), NETWORK, "new").unwrap();
        let record = fixture.leases.get(&key("a")).unwrap().unwrap();
        renamed.adopt(&key("a"), &record).unwrap();
        assert_eq!(
            renamed.take_over(&fixture.leases, NETNS).unwrap().leases,
            std::slice::from_ref(&record)
        );
        assert_eq!(fixture.audit().len(), 0);
        assert_eq!(renamed.list().unwrap().leases, [record]);
    }
}
