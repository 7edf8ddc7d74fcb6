//! The difference between what stands in the kernel and what a network wants, as messages for one
//! transaction. No message: nothing is to be done.
//!
//! A node that joins or leaves is one element of one set. A chain whose rules are not as they should be
//! is filled again; a set that is of another kind, or with other intervals, takes all chains with it,
//! for their rules refer to it. nf_tables switches from the old to the new between two packets.

use super::objects::{
    Chain, Change, Message, RuleSet, Set, add_table, change_elements, delete_chain, delete_set,
    delete_table,
};
use super::observed::{ObservedChain, ObservedObjects, ObservedSet, Table};
use crate::kernel::attribute::{encoded, includes};

/// What makes `observed` into what the network wants.
pub(super) fn replace(observed: &ObservedObjects, want: &RuleSet) -> Vec<Message> {
    let sets = &want.sets;
    let chains = || want.chains.iter().chain(observed.in_company.then_some(&want.apart));
    let mut messages = Vec::new();
    if observed.table.as_ref().is_none_or(|table| table.flags != 0) {
        messages.push(add_table());
    }
    let pairs: Vec<(&ObservedSet, &Set)> = observed
        .sets
        .iter()
        .filter_map(|have| sets.iter().find(|set| same_set(have, set)).map(|set| (have, set)))
        .collect();
    if pairs.len() == sets.len() && pairs.len() == observed.sets.len() {
        for (have, set) in pairs {
            let (gone, new) =
                (have.elements.difference(&set.elements), set.elements.difference(&have.elements));
            messages.extend(change_elements(Change::Delete, &set.name, gone.copied()));
            messages.extend(change_elements(Change::Add, &set.name, new.copied()));
        }
        let wrong =
            observed.chains.iter().filter(|have| !chains().any(|chain| same_kind(have, chain)));
        messages.extend(wrong.map(|chain| delete_chain(&chain.name)));
        for chain in chains() {
            match observed.chains.iter().find(|have| same_kind(have, chain)) {
                None => messages.extend(chain.add()),
                Some(have) if !same_rules(have, chain) => messages.extend(chain.refill()),
                Some(_) => {}
            }
        }
    } else {
        messages.extend(clear(observed));
        messages.extend((1..).zip(sets).flat_map(|(id, set)| set.add(id)));
        messages.extend(chains().flat_map(Chain::add));
    }
    messages
}

/// What removes all of the network, and the table when nothing else is in it.
pub(super) fn remove(observed: &ObservedObjects) -> Vec<Message> {
    let ours = observed.sets.len() + observed.chains.len();
    match observed.table {
        None => Vec::new(),
        Some(Table { uses, .. }) if uses as usize == ours => vec![delete_table()],
        Some(_) => clear(observed).collect(),
    }
}

/// Chains first: their rules hold the sets.
fn clear(observed: &ObservedObjects) -> impl Iterator<Item = Message> {
    let chains = observed.chains.iter().map(|chain| delete_chain(&chain.name));
    chains.chain(observed.sets.iter().map(|set| delete_set(&set.name)))
}

/// Elements of an interval set count as its kind: an end means nothing without its start.
fn same_set(have: &ObservedSet, set: &Set) -> bool {
    have.name == set.name
        && have.flags == set.flags().bits()
        && have.key_length == set.family.length()
        && set.fits(have.size)
        && (!set.interval || have.elements == set.elements)
}

fn same_kind(have: &ObservedChain, chain: &Chain) -> bool {
    have.name == chain.name
        && have.is_base() == chain.base.is_some()
        && includes(&have.attributes, &encoded(&chain.attributes()))
}

fn same_rules(have: &ObservedChain, chain: &Chain) -> bool {
    have.rules.len() == chain.rules.len()
        && have
            .rules
            .iter()
            .zip(&chain.rules)
            .all(|(have, rule)| includes(have, &encoded(&rule.attributes())))
}

#[cfg(test)]
#[path = "plan/properties.rs"]
mod properties;
#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
