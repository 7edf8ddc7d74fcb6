//! The order in which addresses are tried: round robin, from the last one given, so that one that
//! was just freed is not given again while others still have it in their neighbour caches.

use std::iter;
use std::net::IpAddr;

use flatnet_conf::{Range, SetRange};

/// A range, of whatever kind, as far as walking over it goes.
pub(crate) trait Walkable {
    /// Whether this is the range to go on in after `address` was given.
    fn holds(&self, address: IpAddr) -> bool;

    /// The next address it gives after this one, or its first.
    fn next_after(&self, address: Option<IpAddr>) -> Option<IpAddr>;
}

impl Walkable for Range {
    fn holds(&self, address: IpAddr) -> bool {
        self.contains(address)
    }

    fn next_after(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        Range::next_after(self, address)
    }
}

impl Walkable for SetRange {
    fn holds(&self, address: IpAddr) -> bool {
        self.covers(address)
    }

    fn next_after(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        SetRange::next_after(self, address)
    }
}

/// Every address that the ranges give, once, beginning after `last` and coming round to it.
/// A `last` of no range (the ranges have changed) begins at the first.
pub(crate) fn walk<'a, R: Walkable>(
    ranges: &'a [&'a R],
    last: Option<IpAddr>,
) -> impl Iterator<Item = IpAddr> + 'a {
    let turn = last.and_then(|last| ranges.iter().position(|range| range.holds(last)));
    let last = turn.and(last);
    let (before, from) = ranges.split_at(turn.unwrap_or(0));
    let (current, after) = match from.split_first() {
        Some((current, after)) => (Some(*current), after),
        None => (None, from),
    };
    let ahead = current.into_iter().flat_map(move |range| steps(range, last));
    let others = after.iter().chain(before).flat_map(|range| steps(*range, None));
    let behind = current
        .zip(last)
        .into_iter()
        .flat_map(|(range, last)| steps(range, None).take_while(move |address| *address <= last));
    ahead.chain(others).chain(behind)
}

fn steps<R: Walkable>(range: &R, after: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    iter::successors(range.next_after(after), |address| range.next_after(Some(*address)))
}
