//! What of one network stands in the kernel's nft table, read from its dumps.

use super::names::Names;
use super::objects::{CHAIN_HOOK, Element, TABLE};
use crate::kernel::attribute::{decode, find, find_number, find_text};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// The table, and in it the chains and sets that bear the network's names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedObjects {
    /// Absent if there is no table.
    pub(super) table: Option<Table>,
    pub(super) sets: Vec<ObservedSet>,
    pub(super) chains: Vec<ObservedChain>,
    /// Whether another network is here that no chain of its own keeps apart.
    pub(super) in_company: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// `NFT_TABLE_F_*`; dormant is 1.
    pub(super) flags: u32,
    /// How many chains, sets and other objects are in it, of all networks and of other programs.
    pub(super) uses: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ObservedSet {
    pub(super) name: String,
    pub(super) flags: u32,
    pub(super) key_length: u32,
    /// How many elements it was made for, if that was said.
    pub(super) size: Option<u32>,
    pub(super) elements: BTreeSet<Element>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ObservedChain {
    pub(super) name: String,
    /// As dumped.
    pub(super) attributes: Vec<u8>,
    /// Each as dumped, in order.
    pub(super) rules: Vec<Vec<u8>>,
}

impl ObservedChain {
    /// Whether packets come into it by themselves.
    pub(super) fn is_base(&self) -> bool {
        find(&self.attributes, CHAIN_HOOK).is_some()
    }
}

impl Table {
    /// Reads the answer to `NFT_MSG_GETTABLE`.
    pub(super) fn decode(answer: &[u8]) -> Self {
        Table {
            flags: find_number(answer, 2).unwrap_or(0),
            uses: find_number(answer, 3).unwrap_or(0),
        }
    }
}

/// Whether the answer to `NFT_MSG_GETCHAIN` is of a chain with rules (`NFTA_CHAIN_USE`).
pub(super) fn chain_has_rules(answer: &[u8]) -> bool {
    find_number(answer, 6).is_some_and(|rules| rules > 0)
}

/// The network's chains, in the order of their names: `chains` and `rules` are dumps, the former of
/// all tables.
pub(super) fn chains(
    names: &Names,
    chains: Vec<Vec<u8>>,
    rules: Vec<Vec<u8>>,
) -> Vec<ObservedChain> {
    let mut found: HashMap<String, Vec<u8>> = chains
        .into_iter()
        .filter(|chain| find_text(chain, 1) == Some(TABLE))
        .filter_map(|chain| Some((find_text(&chain, 3)?.to_owned(), chain)))
        .collect();
    let mut observed: Vec<ObservedChain> = names
        .chains()
        .into_iter()
        .filter_map(|name| found.remove_entry(name))
        .map(|(name, attributes)| ObservedChain { name, attributes, rules: Vec::new() })
        .collect();
    for rule in rules {
        let name = find_text(&rule, 2);
        if let Some(chain) = observed.iter_mut().find(|chain| Some(chain.name.as_str()) == name) {
            chain.rules.push(rule);
        }
    }
    observed
}

/// Whether the dumps show another network than that of `names`, and no chain `forward` of it.
pub(super) fn in_company(names: &Names, sets: &[Vec<u8>], chains: &[Vec<u8>]) -> bool {
    let here: HashSet<&str> = chains
        .iter()
        .filter(|chain| find_text(chain, 1) == Some(TABLE))
        .filter_map(|chain| find_text(chain, 3))
        .collect();
    let vnis = sets.iter().filter_map(|set| Names::of_vteps(find_text(set, 2)?));
    let mut others = vnis.map(Names::of).filter(|other| other.vteps != names.vteps);
    others.any(|other| !here.contains(other.forward.as_str()))
}

/// The network's sets without their elements, which take a dump each.
pub(super) fn sets(names: &Names, sets: &[Vec<u8>]) -> Vec<ObservedSet> {
    sets.iter()
        .filter_map(|set| {
            let name = find_text(set, 2).filter(|name| names.sets().contains(name))?;
            Some(ObservedSet {
                name: name.to_owned(),
                flags: find_number(set, 3).unwrap_or(0),
                key_length: find_number(set, 5).unwrap_or(0),
                size: find(set, 9).and_then(|description| find_number(description, 1)),
                elements: BTreeSet::new(),
            })
        })
        .collect()
}

/// The elements in the messages of a dump; what is no address is not of our making, and makes
/// the set differ by its type.
pub(super) fn elements(dump: &[Vec<u8>]) -> BTreeSet<Element> {
    dump.iter()
        .filter_map(|message| find(message, 3))
        .flat_map(decode)
        .filter_map(|(_, element)| {
            let key = find(find(element, 1)?, 1)?;
            let key = <[u8; 4]>::try_from(key)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(key).map(IpAddr::from))
                .ok()?;
            let end = find_number(element, 3).unwrap_or(0) & 1 != 0; // NFT_SET_ELEM_INTERVAL_END
            Some(Element { key, end })
        })
        .collect()
}
