//! A node that claims its ranges from the cluster's.

use ipnetwork::IpNetwork;

use super::choice::choose;
use super::decision::{Decision, Wait};
use super::known::Known;
use crate::cluster::BlockEntry;
use crate::source::Deed;

pub fn decide(known: &Known<'_>, decision: &mut Decision) {
    known.reclaim(decision);
    for ipv4 in [true, false] {
        if known.network.cluster_cidrs.iter().any(|cidr| cidr.is_ipv4() == ipv4) {
            family(known, ipv4, decision);
        }
    }
}

fn family(known: &Known<'_>, ipv4: bool, decision: &mut Decision) {
    let of_family = |range: &IpNetwork| range.is_ipv4() == ipv4;
    let mut own: Vec<_> = known.blocks().filter(|(range, _)| of_family(range)).collect();
    let again = own.iter().filter(|(_, block)| block.retiring);
    decision.deeds.extend(again.map(|(range, _)| Deed::Claim(*range)));
    let claims = |deed: &Deed| match deed {
        Deed::Claim(range) | Deed::Reclaim(range) => of_family(range),
        _ => false,
    };
    if own.is_empty() && !decision.deeds.iter().any(claims) {
        return claim(known, ipv4, decision);
    }
    // Before anything was counted there is no telling.
    let Some(usage) = known.usage else { return };
    let share = known.network.growth_share;
    let few =
        |room: Room, times: u64| room.free.saturating_mul(share) < room.all.saturating_mul(times);
    let room = |blocks: &[(IpNetwork, &BlockEntry)]| {
        blocks.iter().fold(Room::default(), |room, (range, _)| {
            let all = capacity(*range);
            let free = all.saturating_sub(usage.of(*range));
            Room { all: room.all.saturating_add(all), free: room.free.saturating_add(free) }
        })
    };
    if few(room(&own), 1) {
        if !decision.deeds.iter().any(claims) {
            claim(known, ipv4, decision);
        }
        return;
    }
    // The newest that is empty, where without it there would still be twice as much as makes it grow. The oldest
    // stays always: it gives the node's own address.
    let empty = |(range, _): &(IpNetwork, &BlockEntry)| usage.of(*range) == 0;
    let Some(place) = own.iter().rposition(empty).filter(|place| *place > 0) else { return };
    let (range, _) = own.remove(place);
    if !few(room(&own), 2) {
        known.let_go(range, decision);
    }
}

/// How many addresses there are.
#[derive(Clone, Copy, Default)]
struct Room {
    all: u64,
    free: u64,
}

/// How many pods a block has an address for: all but its first, and the IPv4 broadcast address.
pub fn capacity(subnet: IpNetwork) -> u64 {
    let (bits, kept) = if subnet.is_ipv4() { (32, 2) } else { (128, 1) };
    let all = 1_u64.checked_shl(bits - u32::from(subnet.prefix()));
    all.map_or(u64::MAX, |all| all.saturating_sub(kept))
}

fn claim(known: &Known<'_>, ipv4: bool, decision: &mut Decision) {
    match choose(known, ipv4) {
        Some(range) if known.former.contains(&range) => decision.deeds.push(Deed::Reclaim(range)),
        Some(range) => decision.deeds.push(Deed::Claim(range)),
        None => decision.waits.push(Wait::Full { ipv4 }),
    }
}
