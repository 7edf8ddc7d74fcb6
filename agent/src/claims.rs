//! What this node should have among the cluster's objects, and what it waits for. Pure: the same objects and
//! the same leases lead to the same deeds, and a deed whose effect shows is not done again.
//!
//! A range that pods live in is never let go: another node could get it, and its pods their addresses. What is
//! to go and is empty leaves this node's range file first, and is given back when still nothing lives in it
//! (`leaving`): an ADD may have chosen an address meanwhile.

mod choice;
mod claimed;
mod decision;
mod given;
mod known;

use std::net::IpAddr;

use flatnet_conf::parse_vtep;
use ipnetwork::IpNetwork;

pub use claimed::capacity;
pub use decision::{Decision, Wait};
pub use known::Known;

use crate::judge::around;
use crate::source::Deed;

/// Decides.
pub fn decide(known: &Known<'_>) -> Decision {
    let mut decision = Decision::default();
    place(known, &mut decision);
    if known.entry.is_none() && decision.deeds.is_empty() {
        // No node could send it anything: no range is of use.
        return decision;
    }
    if known.own.ranges.is_empty() {
        if known.is_to_wait() {
            return decision;
        }
        claimed::decide(known, &mut decision);
    } else {
        given::decide(known, &mut decision);
    }
    decision
}

/// Decides while the cluster has no node of this name, as when somebody deleted a Node whose kubelet will register
/// it again: its objects may be taken away meanwhile, but its pods live on. `known.own` is where it was.
pub fn outlive(known: &Known<'_>) -> Decision {
    let mut decision = Decision::default();
    let own = known.blocks().map(|(range, _)| range);
    let lives = |range: IpNetwork| known.used(range) > Some(0);
    if known.former.iter().copied().chain(own).any(lives) {
        place(known, &mut decision);
        known.reclaim(&mut decision);
    }
    decision
}

/// Where the node is. An address that it has said stays as long as it is one of its own: with it goes the
/// MAC of its VTEP.
fn place(known: &Known<'_>, decision: &mut Decision) {
    let Known { own, judged, network, entry, name, .. } = known;
    let fits = |address: &IpAddr, ipv4: Option<bool>| {
        ipv4.is_none_or(|ipv4| ipv4 == address.is_ipv4())
            && parse_vtep(&address.to_string()).is_ok()
            && around(network, (*address).into()).is_none()
    };
    let said = entry.and_then(|entry| entry.vtep.clone().ok());
    let stays = said.filter(|said| own.addresses.contains(said) && fits(said, judged.ipv4));
    // What an entry says that is to be another decides nothing.
    let beside = judged.ipv4_beside(network, name);
    let new = || own.addresses.iter().copied().find(|address| fits(address, beside));
    let Some(vtep) = stays.or_else(new) else {
        decision.waits.push(match own.addresses.is_empty() {
            true => Wait::Address,
            false => Wait::NoVtep { ipv4: beside },
        });
        return;
    };
    if said != Some(vtep) {
        decision.deeds.push(Deed::PutNode { vtep });
    }
}

#[cfg(test)]
mod tests;
