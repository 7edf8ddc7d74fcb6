//! A model of nf_tables with our table alone: it takes what the kernel takes, panics where that would
//! refuse, and shows what stands as dumps do. Networks have VNI 7 or 8. For tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use proptest::prelude::*;
use proptest::sample::Index;

use super::names::Names;
use super::objects::{Element, Message, RuleSet};
use super::observed::{self, ObservedObjects, Table};
use super::plan;
use crate::kernel::attribute::{find_number, find_text};

/// Our table as dumps show it, of all networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// The flags of the table, if there is one.
    table: Option<u32>,
    sets: BTreeMap<String, (Vec<u8>, BTreeSet<Element>)>,
    chains: BTreeMap<String, Vec<u8>>,
    /// By chain, in order.
    rules: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Model {
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
    fn observe(&self, vni: u32) -> ObservedObjects {
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
        ObservedObjects { table, sets, chains, in_company }
    }

    /// Makes the network's objects these; returns what was sent.
    pub(crate) fn replace(&mut self, want: &RuleSet) -> Vec<String> {
        self.send(&plan::replace(&self.observe(want.vni), want))
    }

    pub(crate) fn remove(&mut self, vni: u32) -> Vec<String> {
        self.send(&plan::remove(&self.observe(vni)))
    }

    fn send(&mut self, messages: &[Message]) -> Vec<String> {
        messages.iter().for_each(|message| self.handle(message));
        messages.iter().map(|message| message.action.clone()).collect()
    }

    /// The sets and chains of a network.
    pub(crate) fn objects(&self, vni: u32) -> impl PartialEq + Debug + use<> {
        let ObservedObjects { sets, chains, .. } = self.observe(vni);
        (sets, chains)
    }

    /// Whether there is a table that is not asleep.
    pub(crate) fn is_awake(&self) -> bool {
        self.table == Some(0)
    }
}

/// Whether a rule looks up in the set of this name.
fn mentions(rule: &[u8], set: &str) -> bool {
    let name = [set.as_bytes(), &[0]].concat();
    rule.windows(name.len()).any(|window| window == name)
}

/// What another program did to the objects of network 7.
#[derive(Clone, Debug)]
pub(crate) enum Drift {
    Asleep,
    NoTable,
    ChainGone(Index),
    RuleGone(Index, Index),
    RuleTwice(Index, Index),
    RulesTurned(Index),
    ElementGone(Index, Index),
    ElementMore(Index, u8),
}

pub(crate) fn drifts() -> impl Strategy<Value = Vec<Drift>> {
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

pub(crate) fn drift(kernel: &mut Model, drift: Drift) {
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
        Drift::NoTable => *kernel = Model::default(),
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
