//! Which addresses an attachment gets from range sets: a pure decision.

use std::net::IpAddr;

use flatnet_conf::{RangeSet, SetRange};

use crate::error::{Error, Result};
use crate::round_robin::walk;

/// What the choice depends on beside the sets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    /// The addresses the runtime asks for, each from another set.
    pub requested: &'a [IpAddr],
    /// The addresses the attachment holds already.
    pub held: &'a [IpAddr],
    /// The last address given of each set.
    pub last: &'a [Option<IpAddr>],
}

/// One address for each set, with the range it is of. `taken` says whether it is held.
pub(super) fn choose<'a>(
    sets: &'a [RangeSet],
    choice: Choice<'_>,
    taken: &mut dyn FnMut(IpAddr) -> Result<bool>,
) -> Result<Vec<(IpAddr, &'a SetRange)>> {
    let mut chosen = Vec::with_capacity(sets.len());
    let mut unmet = choice.requested.to_vec();
    for (index, set) in sets.iter().enumerate() {
        let asked = unmet.iter().position(|address| set.covering(*address).is_some());
        let address = match asked {
            Some(asked) => requested(set, unmet.remove(asked), choice.held, taken)?,
            None => match choice.held.iter().find(|held| gives(set, **held)) {
                Some(held) => *held,
                None => next_free(set, choice.last.get(index).copied().flatten(), taken)?,
            },
        };
        chosen.extend(set.covering(address).map(|range| (address, range)));
    }
    if unmet.is_empty() { Ok(chosen) } else { Err(Error::NoSet { addresses: unmet }) }
}

fn requested(
    set: &RangeSet,
    address: IpAddr,
    held: &[IpAddr],
    taken: &mut dyn FnMut(IpAddr) -> Result<bool>,
) -> Result<IpAddr> {
    if !gives(set, address) {
        return Err(Error::Gateway { address });
    }
    if !held.contains(&address) && taken(address)? {
        return Err(Error::Taken { address, holder: "another attachment".to_owned() });
    }
    Ok(address)
}

fn next_free(
    set: &RangeSet,
    last: Option<IpAddr>,
    taken: &mut dyn FnMut(IpAddr) -> Result<bool>,
) -> Result<IpAddr> {
    let ranges: Vec<&SetRange> = set.ranges().iter().collect();
    for address in walk(&ranges, last) {
        if !taken(address)? {
            return Ok(address);
        }
    }
    Err(Error::Full { set: set.to_string() })
}

fn gives(set: &RangeSet, address: IpAddr) -> bool {
    set.covering(address).is_some_and(|range| range.gateway() != address)
}

#[cfg(test)]
mod tests;
