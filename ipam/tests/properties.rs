//! What holds of the leases of a node after any sequence of ADD, DEL, changes of the range file and
//! reclaims: an address belongs to one attachment, comes from the ranges of its ADD, is refused only
//! if there is none, and comes back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, also outside its functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatnet_conf::Range;
use flatnet_ipam::{Holder, Key, Leases, Request};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

/// Small enough to be full after a few ADDs: 6 and 2 addresses of IPv4, 2 less for the excluded, 3
/// of IPv6, and 13 that overlap the first.
const RANGES: [&str; 6] = [
    r#""10.1.0.0/29""#,
    r#""10.1.1.0/30""#,
    r#"{"subnet":"10.1.0.0/29","exclude":["10.1.0.2/31"]}"#,
    r#"{"subnet":"10.1.0.0/29","rangeStart":"10.1.0.3","rangeEnd":"10.1.0.4"}"#,
    r#""fd00::/126""#,
    r#""10.1.0.0/28""#,
];

/// What happens to a node.
#[derive(Clone, Debug)]
enum Step {
    /// The ADD of a container, with a request for one of the addresses of its ranges, or none.
    Add { container: u8, request: Option<Index> },
    /// An ADD that fails after it has its addresses.
    FailedAdd { container: u8 },
    /// The DEL of a container.
    Del { container: u8 },
    /// The range file has these ranges for the node now.
    Change { ranges: Vec<usize> },
    /// These containers are gone without a DEL, and leases are reclaimed.
    Reclaim { gone: BTreeSet<u8> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let container = 0u8..12;
    let step = prop_oneof![
        8 => (container.clone(), prop::option::weighted(0.2, any::<Index>()))
            .prop_map(|(container, request)| Step::Add { container, request }),
        1 => container.clone().prop_map(|container| Step::FailedAdd { container }),
        4 => container.clone().prop_map(|container| Step::Del { container }),
        2 => prop::sample::subsequence((0..RANGES.len()).collect::<Vec<_>>(), 1..4)
            .prop_map(|ranges| Step::Change { ranges }),
        1 => prop::collection::btree_set(container, 0..6).prop_map(|gone| Step::Reclaim { gone }),
    ];
    prop::collection::vec(step, 1..40)
}

/// A node, and what its leases should be.
struct Node {
    _state: TempDir,
    leases: Leases,
    ranges: Vec<Range>,
    held: BTreeMap<u8, Vec<IpAddr>>,
}

impl Node {
    fn new() -> Node {
        let state = tempfile::tempdir().unwrap();
        let leases = Leases::create(state.path(), "pods", "node-a").unwrap();
        let ranges = vec![serde_json::from_str(RANGES[0]).unwrap()];
        Node { _state: state, leases, ranges, held: BTreeMap::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Add { container, request } => self.add(container, request, true),
            Step::FailedAdd { container } => self.add(container, None, false),
            Step::Del { container } => {
                let released = self.leases.release(&key(container), None).unwrap();
                let released = released.map(|record| record.addresses);
                assert_eq!(released, self.held.remove(&container), "DEL of {container}");
            }
            Step::Change { ranges } => {
                let range = |index: usize| serde_json::from_str(RANGES[index]).unwrap();
                self.ranges = ranges.into_iter().map(range).collect();
            }
            Step::Reclaim { gone } => {
                let gone: BTreeSet<Key> = gone.into_iter().map(key).collect();
                let lives = |key: &Option<Key>| key.as_ref().is_some_and(|key| !gone.contains(key));
                let done = self.leases.reclaim(&mut |candidate| lives(&candidate.key)).unwrap();
                assert!(done.errors.is_empty(), "{:?}", done.errors);
                self.held.retain(|container, _| !gone.contains(&key(*container)));
            }
        }
        self.agrees();
    }

    fn add(&mut self, container: u8, request: Option<Index>, succeeds: bool) {
        let given = self.given();
        let requested: Vec<IpAddr> = request.map(|index| *index.get(&given)).into_iter().collect();
        let others: BTreeSet<IpAddr> = self
            .held
            .iter()
            .filter(|(other, _)| **other != container)
            .flat_map(|(_, addresses)| addresses.iter().copied())
            .collect();
        let attachment = attachment(container);
        let request =
            Request { attachment: &attachment, ranges: &self.ranges, requested: &requested };
        match self.leases.allocate(&key(container), &request, &mut |_| true, &mut |_| None) {
            Ok(lease) => {
                let addresses = lease.addresses().to_vec();
                for address in &addresses {
                    assert!(!others.contains(address), "{address} is held twice");
                    assert!(given.contains(address), "{address} is not in {:?}", self.ranges);
                }
                assert_eq!(families(&addresses), families(&given), "one of each family");
                assert!(requested.iter().all(|address| addresses.contains(address)));
                let before = self.held.insert(container, addresses.clone());
                self.keeps(before.as_deref().unwrap_or_default(), &addresses, &requested);
                if succeeds {
                    lease.commit();
                } else {
                    lease.release().unwrap();
                    self.held.remove(&container);
                }
            }
            Err(error) => match error.code() {
                101 => assert!(requested.iter().any(|address| others.contains(address)), "{error}"),
                100 => {
                    // Of one family at least there is really nothing left.
                    let full = |ipv4: &bool| {
                        given.iter().filter(|a| a.is_ipv4() == *ipv4).all(|a| others.contains(a))
                    };
                    assert!(families(&given).iter().any(full), "{error}: {others:?}");
                }
                _ => panic!("{error}"),
            },
        }
    }

    /// Every address that the ranges give.
    fn given(&self) -> Vec<IpAddr> {
        let all = self.ranges.iter().flat_map(|range| {
            range.subnet().iter().filter(|address| range.gives(*address)).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// A repeated ADD keeps what it had, as far as ranges and request allow.
    fn keeps(&self, before: &[IpAddr], after: &[IpAddr], requested: &[IpAddr]) {
        for address in before {
            let asked = requested.iter().any(|other| other.is_ipv4() == address.is_ipv4());
            let gives = self.ranges.iter().any(|range| range.gives(*address));
            assert!(asked || !gives || after.contains(address), "{address} was taken away");
        }
    }

    /// What is on disk is what was given.
    fn agrees(&self) {
        let listing = self.leases.list().unwrap();
        assert!(listing.broken.is_empty(), "{:?}", listing.broken);
        let on_disk: BTreeMap<String, Vec<IpAddr>> = listing
            .leases
            .into_iter()
            .map(|record| (record.attachment.container_id, record.addresses))
            .collect();
        let expected: BTreeMap<String, Vec<IpAddr>> =
            self.held.iter().map(|(id, addresses)| (name(*id), addresses.clone())).collect();
        assert_eq!(on_disk, expected);
        let mut all: Vec<&IpAddr> = self.held.values().flatten().collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "an address is held twice: {:?}", self.held);
    }

    /// ADDs until there is no address left, which must be when all are held.
    fn fill(&mut self) {
        for container in 100..120 {
            self.take(Step::Add { container, request: None });
        }
        let held: BTreeSet<IpAddr> = self.held.values().flatten().copied().collect();
        let given = self.given();
        let full = |ipv4: &bool| {
            given.iter().filter(|a| a.is_ipv4() == *ipv4).all(|address| held.contains(address))
        };
        assert!(families(&given).iter().any(full), "{given:?} against {held:?}");
    }
}

fn name(container: u8) -> String {
    format!("c{container}")
}

fn key(container: u8) -> Key {
    Key::new("pods", &name(container), "eth0")
}

fn attachment(container: u8) -> Holder {
    Holder {
        container_id: name(container),
        ifname: "eth0".to_owned(),
        veth: format!("veth{container}"),
        netns: 1,
        ..Holder::default()
    }
}

fn families(addresses: &[IpAddr]) -> BTreeSet<bool> {
    addresses.iter().map(IpAddr::is_ipv4).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_the_promises(steps in steps()) {
        let mut node = Node::new();
        steps.into_iter().for_each(|step| node.take(step));
        node.fill();
        // What is released can be had again, though all else is full.
        if let Some(container) = node.held.keys().copied().next_back() {
            let before = node.held[&container].clone();
            node.take(Step::Del { container });
            let given = node.given();
            // One that came before a family was added makes no room for both.
            let enough = families(&before) == families(&given);
            if enough && before.iter().all(|address| given.contains(address)) {
                node.take(Step::Add { container: 200, request: None });
                prop_assert!(node.held.contains_key(&200), "{:?} did not come back", before);
            }
        }
    }
}
