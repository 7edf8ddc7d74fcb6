//! A node that is given its ranges: a Kubernetes Node with `podCIDRs`.

use ipnetwork::IpNetwork;

use super::decision::{Decision, Wait};
use super::known::Known;
use crate::cluster::parse_range;
use crate::judge::around;
use crate::source::Deed;

pub fn decide(known: &Known<'_>, decision: &mut Decision) {
    for range in &known.own.ranges {
        take(known, *range, decision);
    }
    known.reclaim(decision);
    let others = known.blocks().filter(|(range, _)| !known.own.ranges.contains(range));
    for (range, block) in others {
        match known.used(range) {
            Some(0) => known.let_go(range, decision),
            Some(_) if !block.retiring => decision.deeds.push(Deed::Retire(range)),
            // Before anything was counted it may be full of pods.
            _ => {}
        }
    }
}

/// A range that is to be this node's.
fn take(known: &Known<'_>, range: IpNetwork, decision: &mut Decision) {
    let unusable = |problem| Wait::Unusable { range, problem };
    if let Err(problem) = parse_range(&range.to_string()) {
        return decision.waits.push(unusable(problem));
    }
    if around(known.network, range).is_none() {
        return decision.waits.push(unusable("it is not inside any of clusterCIDRs".to_owned()));
    }
    let held = |block, holder: &str| Wait::Held { range, block, holder: holder.to_owned() };
    match known.judged.blocks.overlapping(range) {
        Some((own, block)) if own == range && block.node == known.name => {
            if block.retiring {
                decision.deeds.push(Deed::Claim(range));
            }
        }
        Some((block, holding)) => decision.waits.push(held(block, &holding.node)),
        None => match known.refused.get(&range) {
            Some(holder) => decision.waits.push(held(range, holder)),
            None => decision.deeds.push(Deed::Claim(range)),
        },
    }
}
