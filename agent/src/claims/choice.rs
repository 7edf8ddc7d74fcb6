//! Which block a node claims: one of the first that are free, so that the cluster's ranges fill up from below,
//! and another one on each node, so that many that come at once seldom want the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ipnetwork::IpNetwork;

use super::known::Known;

/// Of so many free blocks one is chosen.
const WINDOW: usize = 256;

/// A range that the node had before, if it can have it again; else one that is free.
pub fn choose(known: &Known<'_>, ipv4: bool) -> Option<IpNetwork> {
    let cidrs = known.network.cluster_cidrs.iter().filter(|cidr| cidr.is_ipv4() == ipv4);
    let refused = |range: &IpNetwork| known.refused.contains_key(range);
    let mut free = Vec::with_capacity(WINDOW);
    for cidr in cidrs {
        let prefix = known.network.block_size(*cidr);
        let blocks = &known.judged.blocks;
        let fits = |range: &&IpNetwork| {
            range.prefix() == prefix
                && range.is_ipv4() == ipv4
                && cidr.contains(range.network())
                && blocks.overlapping(**range).is_none()
                && !refused(range)
        };
        if let Some(former) = known.former.iter().find(fits) {
            return Some(*former);
        }
        let candidates = blocks.free(*cidr, prefix).filter(|range| !refused(range));
        free.extend(candidates.take(WINDOW - free.len()));
    }
    let mut hasher = DefaultHasher::new();
    known.name.hash(&mut hasher);
    let place = hasher.finish().checked_rem(free.len().try_into().ok()?)?;
    free.get(usize::try_from(place).ok()?).copied()
}
