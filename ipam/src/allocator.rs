//! Which addresses an attachment gets: a pure decision, that never sees a disk.
//!
//! Addresses go round robin, from the last one given, over all ranges of a family in their order,
//! so that one that was just freed is not given again while others still have it in their
//! neighbour caches and connections. Where none was given yet they begin anywhere: after a reboot others
//! still know the pods from before it, which began somewhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatnet_conf::Range;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::round_robin::walk;

/// The last address given in each family; as JSON `{"4": "10.244.1.7", "6": "fd00::7"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    #[serde(rename = "4", default, skip_serializing_if = "Option::is_none")]
    v4: Option<Ipv4Addr>,
    #[serde(rename = "6", default, skip_serializing_if = "Option::is_none")]
    v6: Option<Ipv6Addr>,
}

impl Cursor {
    fn last(&self, v4: bool) -> Option<IpAddr> {
        if v4 { self.v4.map(IpAddr::V4) } else { self.v6.map(IpAddr::V6) }
    }

    fn advance(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4 = Some(address),
            IpAddr::V6(address) => self.v6 = Some(address),
        }
    }
}

/// What an attachment would like to get.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// The addresses the runtime asks for: these or none.
    pub requested: &'a [IpAddr],
    /// The addresses it had before: these if they are still to be had.
    pub preferred: &'a [IpAddr],
}

/// Why there is no choice.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Two requested addresses of one family.
    SeveralOfFamily(IpAddr, IpAddr),
    /// A requested address that no range gives.
    OutOfRanges(IpAddr),
    /// A requested address that is taken.
    Taken(IpAddr),
    /// All addresses of a family are taken, `v4` or not.
    Exhausted { v4: bool },
    /// It could not be told whether an address is taken.
    Unknown(Error),
}

/// One address for each family that there are ranges for, IPv4 first, and the cursor afterwards. Ranges that are
/// held for living pods alone give none, but to whom they have given one before.
/// `seed` says where to begin in a family if the cursor does not, or names what no range has any more.
///
/// Requested and preferred addresses do not move the cursor: a static address that comes and goes
/// would send it back, and the addresses behind it would be reused at once.
pub(crate) fn choose(
    ranges: &[Range],
    wish: Wish<'_>,
    mut cursor: Cursor,
    seed: u64,
    taken: &mut dyn FnMut(IpAddr) -> Result<bool, Error>,
) -> Result<(Vec<IpAddr>, Cursor), Refusal> {
    let open: Vec<&Range> = ranges.iter().filter(|range| !range.is_retiring()).collect();
    check(&open, wish.requested)?;
    let mut addresses = Vec::with_capacity(2);
    for v4 in [true, false] {
        if !ranges.iter().any(|range| range.subnet().is_ipv4() == v4) {
            continue;
        }
        let ours = open.iter().copied().filter(|range| range.subnet().is_ipv4() == v4);
        let ours: Vec<&Range> = ours.collect();
        if let Some(&address) = wish.requested.iter().find(|a| a.is_ipv4() == v4) {
            if taken(address).map_err(Refusal::Unknown)? {
                return Err(Refusal::Taken(address));
            }
            addresses.push(address);
            continue;
        }
        // Also one of a range that is given to no other pod any more.
        let given = |address: &IpAddr| ranges.iter().any(|range| range.gives(*address));
        let earlier = wish.preferred.iter().copied().filter(given);
        let earlier = earlier.filter(|a| a.is_ipv4() == v4);
        if let Some(address) = first_free(earlier, taken)? {
            addresses.push(address);
            continue;
        }
        let last = cursor.last(v4).filter(|last| ours.iter().any(|range| range.contains(*last)));
        let last = last.or_else(|| ours.first().and_then(|first| before_the_first(first, seed)));
        let free = first_free(walk(&ours, last), taken)?;
        let address = free.ok_or(Refusal::Exhausted { v4 })?;
        cursor.advance(address);
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(Refusal::Exhausted { v4: true });
    }
    Ok((addresses, cursor))
}

/// Whether the request can be met at all, before anything is looked at.
fn check(ranges: &[&Range], requested: &[IpAddr]) -> Result<(), Refusal> {
    for (i, &address) in requested.iter().enumerate() {
        let earlier = requested.iter().take(i).find(|a| a.is_ipv4() == address.is_ipv4());
        if let Some(&earlier) = earlier {
            return Err(Refusal::SeveralOfFamily(earlier, address));
        }
        if !ranges.iter().any(|range| range.gives(address)) {
            return Err(Refusal::OutOfRanges(address));
        }
    }
    Ok(())
}

/// After which address to begin in a range, any of it; `None` for its first. Never at the range's end, which
/// would begin in the next.
fn before_the_first(range: &Range, seed: u64) -> Option<IpAddr> {
    let last = range.pick(seed);
    range.next_after(Some(last)).and(Some(last))
}

fn first_free(
    addresses: impl Iterator<Item = IpAddr>,
    taken: &mut dyn FnMut(IpAddr) -> Result<bool, Error>,
) -> Result<Option<IpAddr>, Refusal> {
    for address in addresses {
        if !taken(address).map_err(Refusal::Unknown)? {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
