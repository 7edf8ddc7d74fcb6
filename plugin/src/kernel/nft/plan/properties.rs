//! What holds of any plan: the messages make what stands into what is wanted, each is one that the
//! kernel takes, and another network's objects stay. The kernel is a model of one table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::super::names::Names;
use super::super::objects::Element;
use super::super::observed;
use super::super::rules::{Masquerade, RuleSet};
use super::*;
use crate::kernel::attribute::{find_number, find_text};

/// Our table as dumps show it, of all networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kernel {
    /// The flags of the table, if there is one.
    table: Option<u32>,
    sets: BTreeMap<String, (Vec<u8>, BTreeSet<Element>)>,
    chains: BTreeMap<String, Vec<u8>>,
    /// By chain, in order.
    rules: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Kernel {
    /// One message of a transaction. Panics where nf_tables would refuse.
    fn handle(&mut self, message: &Message) {
        let Message { action, content } = message;
        let mut bytes = vec![0; content.buffer_len()];
        content.emit(&mut bytes);
        let name = |kind| find_text(&bytes, kind).unwrap_or_default().to_owned();
        let (set, chain) = (name(2), name(3));
        assert!(
            matches!(content, NfTablesMessage::NewTable(_)) || self.table.is_some(),
            "{action}: no table"
        );
        match content {
            NfTablesMessage::NewTable(_) => self.table = Some(find_number(&bytes, 2).unwrap_or(0)),
            NfTablesMessage::DeleteTable(_) => *self = Self::default(),
            NfTablesMessage::NewSet(_) => {
                let before = self.sets.insert(set, (bytes, BTreeSet::new()));
                assert_eq!(before, None, "{action}: EEXIST");
            }
            NfTablesMessage::DeleteSet(_) => {
                let used = self.rules.values().flatten().any(|rule| mentions(rule, &set));
                assert!(!used, "{action}: EBUSY");
                assert!(self.sets.remove(&set).is_some(), "{action}: ENOENT");
            }
            NfTablesMessage::NewSetElement(_) => {
                let (_, elements) = self.sets.get_mut(&set).expect(action);
                elements.extend(observed::elements(&[bytes]));
            }
            NfTablesMessage::DeleteSetElement(_) => {
                let (set, elements) = self.sets.get_mut(&set).expect(action);
                assert_eq!(find_number(set, 3), Some(0), "{action}: a bound is half an interval");
                for element in observed::elements(&[bytes]) {
                    assert!(elements.remove(&element), "{action}: {element:?}: ENOENT");
                }
            }
            NfTablesMessage::NewChain(_) => {
                self.rules.insert(chain.clone(), Vec::new());
                assert_eq!(self.chains.insert(chain, bytes), None, "{action}: EEXIST");
            }
            NfTablesMessage::DeleteRule(_) => self.rules.get_mut(&set).expect(action).clear(),
            NfTablesMessage::DeleteChain(_) => {
                self.rules.remove(&chain);
                let used = self.rules.values().flatten().any(|rule| mentions(rule, &chain));
                assert!(!used, "{action}: EBUSY");
                assert!(self.chains.remove(&chain).is_some(), "{action}: ENOENT");
            }
            NfTablesMessage::NewRule(_) => {
                let all = [7, 8].map(Names::of);
                let names =
                    all.iter().flat_map(|names| [&names.sets()[..], &names.chains()].concat());
                let here =
                    |name: &str| self.sets.contains_key(name) || self.chains.contains_key(name);
                let missing = names.into_iter().find(|name| mentions(&bytes, name) && !here(name));
                assert_eq!(missing, None, "{action}: ENOENT");
                // A rule's chain is where a set's name is.
                self.rules.get_mut(&set).expect(action).push(bytes);
            }
            other => panic!("{action}: {other:?} changes nothing"),
        }
    }

    /// What of a network is there.
    fn observe(&self, vni: u32) -> Observed {
        let names = Names::of(vni);
        let dumps: Vec<Vec<u8>> = self.sets.values().map(|(set, _)| set.clone()).collect();
        let mut sets = observed::sets(&names, &dumps);
        for set in &mut sets {
            set.elements.clone_from(&self.sets[&set.name].1);
        }
        let rules = self.rules.values().flatten().cloned().collect();
        let chains: Vec<Vec<u8>> = self.chains.values().cloned().collect();
        let in_company = observed::in_company(&names, &dumps, &chains);
        let chains = observed::chains(&names, chains, rules);
        let uses = (self.sets.len() + self.chains.len()) as u32;
        let table = self.table.map(|flags| Table { flags, uses });
        Observed { table, sets, chains, in_company }
    }

    /// Makes the network's objects these; returns what was sent.
    fn replace(&mut self, want: &RuleSet) -> Vec<Message> {
        let messages = replace(&self.observe(want.vni), want);
        messages.iter().for_each(|message| self.handle(message));
        messages
    }

    fn remove(&mut self, vni: u32) {
        remove(&self.observe(vni)).iter().for_each(|message| self.handle(message));
    }
}

/// Whether a rule looks up in the set of this name.
fn mentions(rule: &[u8], set: &str) -> bool {
    let name = [set.as_bytes(), &[0]].concat();
    rule.windows(name.len()).any(|window| window == name)
}

fn rule_sets(vni: u32) -> impl Strategy<Value = RuleSet> {
    let cidrs =
        ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "192.168.0.0/24", "fd00::/16", "fd01::/64"];
    let vteps = (any::<bool>(), subsequence((1..6).collect::<Vec<u8>>(), 1..5));
    let devices = subsequence(vec!["eth0".to_owned(), "eth1".to_owned()], 0..3);
    let masquerade =
        prop::sample::select(vec![Masquerade::Off, Masquerade::On, Masquerade::SparesNodes]);
    (vteps, subsequence(cidrs.to_vec(), 1..5), 4789u16..4791, devices, masquerade).prop_map(
        move |((v6, vteps), cidrs, port, devices, masquerade)| {
            let vtep = |last: u8| match v6 {
                false => IpAddr::from([192, 0, 2, last]),
                true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            };
            RuleSet {
                network: "pods".into(),
                vni,
                port,
                group: 0x6600_0000 | vni,
                overlay_group: 0x6700_0000 | vni,
                vtep: vtep(1),
                vteps: vteps.into_iter().map(vtep).collect(),
                cluster_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
                underlay: devices,
                gateway: [169, 254, 1, 1].into(),
                masquerade,
            }
        },
    )
}

/// Messages of attributes whose lengths and contents may be wrong, names of ours among them.
fn dumps() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let names = vec!["flatnet\0", "vteps-7\0", "cluster4-7\0", "input-7\0", "output-7"];
    let value = prop_oneof![
        prop::sample::select(names).prop_map(|name| name.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..24),
    ];
    let attribute = (0u16..9, value, prop::option::weighted(0.1, 0u16..64));
    let message = prop::collection::vec(attribute, 0..5).prop_map(|attributes| {
        let mut bytes = Vec::new();
        for (kind, value, wrong) in attributes {
            let length = wrong.unwrap_or(value.len() as u16 + 4);
            bytes.extend_from_slice(&length.to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    });
    prop::collection::vec(message, 0..4)
}

/// What another program did to the objects of network 7.
#[derive(Clone, Debug)]
enum Drift {
    Asleep,
    NoTable,
    ChainGone(Index),
    RuleGone(Index, Index),
    RuleTwice(Index, Index),
    RulesTurned(Index),
    ElementGone(Index, Index),
    ElementMore(Index, u8),
}

fn drifts() -> impl Strategy<Value = Vec<Drift>> {
    let at = any::<Index>;
    let drift = prop_oneof![
        Just(Drift::Asleep),
        Just(Drift::NoTable),
        at().prop_map(Drift::ChainGone),
        (at(), at()).prop_map(|(chain, rule)| Drift::RuleGone(chain, rule)),
        (at(), at()).prop_map(|(chain, rule)| Drift::RuleTwice(chain, rule)),
        at().prop_map(Drift::RulesTurned),
        (at(), at()).prop_map(|(set, element)| Drift::ElementGone(set, element)),
        (at(), 200u8..).prop_map(|(set, element)| Drift::ElementMore(set, element)),
    ];
    prop::collection::vec(drift, 0..4)
}

fn drift(kernel: &mut Kernel, drift: Drift) {
    let names = Names::of(7);
    let chain = |at: Index| *at.get(&names.chains());
    let set = |at: Index| *at.get(&names.sets());
    let mut rules = |at: Index, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let rules = kernel.rules.get_mut(chain(at)).filter(|rules| !rules.is_empty());
        rules.into_iter().for_each(change);
    };
    match drift {
        Drift::RuleGone(at, rule) => {
            rules(at, &|rules| drop(rules.remove(rule.index(rules.len()))))
        }
        Drift::RuleTwice(at, rule) => rules(at, &|rules| rules.push(rule.get(rules).clone())),
        Drift::RulesTurned(at) => rules(at, &|rules| rules.reverse()),
        Drift::Asleep => kernel.table = kernel.table.map(|_| 1),
        Drift::NoTable => *kernel = Kernel::default(),
        Drift::ChainGone(at) => {
            kernel.chains.remove(chain(at));
            kernel.rules.remove(chain(at));
        }
        Drift::ElementGone(at, element) => {
            if let Some((_, elements)) = kernel.sets.get_mut(set(at)) {
                let all: Vec<Element> = elements.iter().copied().collect();
                all.get(element.index(all.len().max(1))).map(|element| elements.remove(element));
            }
        }
        Drift::ElementMore(at, last) => {
            if let Some((_, elements)) = kernel.sets.get_mut(set(at)) {
                elements.insert(Element { key: [198, 51, 100, last].into(), end: false });
            }
        }
    }
}

proptest! {
    /// Whatever is dumped, there is a plan.
    #[test]
    fn no_dump_is_too_strange(
        chains in dumps(), rules in dumps(), sets in dumps(), elements in dumps(),
        want in rule_sets(7),
    ) {
        let names = Names::of(7);
        let in_company = observed::in_company(&names, &sets, &chains);
        let mut sets = observed::sets(&names, &sets);
        sets.iter_mut().for_each(|set| set.elements = observed::elements(&elements));
        let chains = observed::chains(&names, chains, rules);
        let table = Some(Table { flags: 0, uses: 0 });
        let observed = Observed { table, sets, chains, in_company };
        prop_assert!(!replace(&observed, &want).is_empty());
    }

    #[test]
    fn whatever_stands_becomes_what_is_wanted(
        before in rule_sets(7), other in rule_sets(8), drifted in drifts(),
        after in prop::option::of(rule_sets(7)),
    ) {
        // Drift shows best where nothing else changes.
        let after = after.unwrap_or_else(|| before.clone());
        let mut kernel = Kernel::default();
        kernel.replace(&before);
        kernel.replace(&other);
        drifted.into_iter().for_each(|what| drift(&mut kernel, what));
        let others = kernel.observe(8);

        kernel.replace(&after);
        let mut fresh = Kernel::default();
        fresh.replace(&after);
        prop_assert_eq!(&kernel.observe(7).sets, &fresh.observe(7).sets);
        prop_assert_eq!(&kernel.observe(7).chains, &fresh.observe(7).chains);
        prop_assert_eq!(kernel.table, Some(0));
        prop_assert_eq!(kernel.replace(&after), []);
        prop_assert_eq!(&kernel.observe(8).sets, &others.sets);
        prop_assert_eq!(&kernel.observe(8).chains, &others.chains);

        kernel.remove(7);
        let left = kernel.observe(7);
        prop_assert!(left.sets.is_empty() && left.chains.is_empty());
        prop_assert_eq!(&kernel.observe(8).sets, &others.sets);
        prop_assert_eq!(&kernel.observe(8).chains, &others.chains);
        kernel.remove(8);
        prop_assert_eq!(kernel, Kernel::default());
    }
}
