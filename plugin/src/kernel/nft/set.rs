//! Sets and maps of other tables: what it asks of a packet to be one of their elements.

use super::field::{Loaded, Names};
use super::verdict::verdict;
use crate::kernel::attribute::{decode, find, find_number};
use crate::kernel::foreign_chains::{Asks, Condition, End};
use std::collections::BTreeMap;

/// `NFT_SET_INTERVAL`
const INTERVAL: u32 = 4;
/// `NFT_SET_CONCAT`
const CONCAT: u32 = 0x80;

/// A set or map.
pub(super) struct Set {
    pub(super) entries: Vec<Entry>,
}

/// An element, or all between two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first and the last key; `None` of what all others are.
    keys: Option<(Vec<u8>, Vec<u8>)>,
    /// In a map of verdicts, which.
    pub(super) verdict: Option<End>,
}

impl Set {
    /// A set out of its own message and a dump of its elements.
    pub(super) fn read(set: &[u8], dump: &[Vec<u8>]) -> Self {
        let flags = find_number(set, 3).unwrap_or(0);
        let elements = dump.iter().filter_map(|message| find(message, 3)).flat_map(decode);
        let elements = elements.map(|(_, element)| element);
        // Of several fields the first and the last key are one element.
        let entries = match flags & (INTERVAL | CONCAT) == INTERVAL {
            true => intervals(elements),
            false => elements.map(single).collect(),
        };
        Self { entries }
    }
}

impl Entry {
    /// What it asks of what is loaded from a register on: one field, or several, each padded to
    /// four bytes.
    pub(super) fn conditions(
        &self,
        first: u32,
        registers: &BTreeMap<u32, Loaded>,
        names: &Names,
    ) -> Vec<Condition> {
        let Some((from, to)) = &self.keys else { return Vec::new() };
        let unknown = || vec![Asks::Unknown("set".to_owned()).into()];
        let mut conditions = Vec::new();
        let mut at = 0;
        while at < from.len() {
            let Some(loaded) = registers.get(&(first + at as u32 / 4)) else { return unknown() };
            let end = from.len().min(at + loaded.width);
            let (Some(from), Some(to)) = (from.get(at..end), to.get(at..end)) else {
                return unknown();
            };
            conditions.push(loaded.within(from, to, names));
            at = end.next_multiple_of(4);
        }
        conditions
    }
}

fn key(element: &[u8], kind: u16) -> Option<Vec<u8>> {
    Some(find(find(element, kind)?, 1)?.to_vec())
}

fn ends(element: &[u8]) -> Option<End> {
    verdict(find(find(element, 2)?, 2)?)
}

fn single(element: &[u8]) -> Entry {
    let keys = key(element, 1).map(|from| {
        let to = key(element, 10).unwrap_or_else(|| from.clone()); // NFTA_SET_ELEM_KEY_END
        (from, to)
    });
    Entry { keys, verdict: ends(element) }
}

/// Each is from its element to the one before the next, which may only mark an end
/// (`NFT_SET_ELEM_INTERVAL_END`). Those of no verdict that touch are one.
fn intervals<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Vec<Entry> {
    let (mut bounds, mut entries) = (Vec::new(), Vec::new());
    for element in elements {
        let end = find_number(element, 3).unwrap_or(0) & 1 != 0;
        match key(element, 1) {
            Some(key) => bounds.push((key, !end, ends(element))),
            None => entries.push(single(element)),
        }
    }
    // What ends before what begins with the same.
    bounds.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let mut open: Option<(Vec<u8>, Option<End>)> = None;
    let mut found: Vec<Entry> = Vec::new();
    let mut bounds = bounds.into_iter().peekable();
    while let Some((key, begins, verdict)) = bounds.next() {
        let goes_on = !begins && bounds.peek().is_some_and(|(next, ..)| *next == key);
        if goes_on && open.as_ref().is_some_and(|(_, verdict)| verdict.is_none()) {
            bounds.next();
            continue;
        }
        if let Some((from, verdict)) = open.take() {
            found.push(Entry { keys: Some((from, before(key.clone()))), verdict });
        }
        open = begins.then_some((key, verdict));
    }
    if let Some((from, verdict)) = open {
        let last = vec![0xff; from.len()];
        found.push(Entry { keys: Some((from, last)), verdict });
    }
    // What all others are comes last.
    found.append(&mut entries);
    found
}

/// The key before this one.
fn before(mut key: Vec<u8>) -> Vec<u8> {
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}
