//! Range sets, as the reference plugin host-local has them: an attachment gets one address of each.
//!
//! Unlike the ranges of the range file they name a gateway, and may lie anywhere: a bridge that
//! is known to one node alone is often given link-local addresses.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::address::{parse_address, parse_canonical, successor};
use crate::error::Broken;
use crate::raw;
use crate::span::overlap;

/// One range of a set: the addresses from a start to an end, less the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetRange {
    subnet: IpNetwork,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

/// One or more ranges of one family that do not overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeSet {
    ranges: Vec<SetRange>,
}

impl SetRange {
    /// The subnet: its prefix length is that of an address in a result.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// `gateway`, or the first address after the subnet's own. It is never given.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Whether the address lies from start to end, be it the gateway.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.start.is_ipv4() == address.is_ipv4() && (self.start..=self.end).contains(&address)
    }

    /// The next address that the range gives after this one, or its first for `None`; `None` at
    /// the end, and after an address of the other family.
    pub fn next_after(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let mut next = match address {
            Some(address) if address.is_ipv4() != self.start.is_ipv4() => return None,
            Some(address) => successor(address)?.max(self.start),
            None => self.start,
        };
        if next == self.gateway {
            next = successor(next)?;
        }
        (next <= self.end).then_some(next)
    }

    fn from_raw(raw: &raw::IpamRange) -> Result<SetRange, Broken> {
        let missing = || Broken::new("is missing; give the subnet in CIDR notation");
        let text = raw.subnet.as_deref().ok_or_else(missing);
        let subnet = text.and_then(|text| parse_canonical(text).map_err(Broken::from));
        let subnet = subnet.map_err(|broken| broken.under("subnet"))?;
        let bits_of_hosts = if subnet.is_ipv4() { 32 } else { 128 } - subnet.prefix();
        let second = successor(subnet.network()).filter(|_| bits_of_hosts >= 2);
        let second = second.ok_or_else(|| {
            let longest = if subnet.is_ipv4() { 30 } else { 126 };
            Broken::new(format!("\"{subnet}\" is too small; use a /{longest} or larger"))
                .under("subnet")
        })?;
        let start = inside(subnet, &raw.range_start, "rangeStart")?.unwrap_or(second);
        let end = inside(subnet, &raw.range_end, "rangeEnd")?.unwrap_or_else(|| last_of(subnet));
        if start > end {
            let problem = format!("\"{start}\" is above rangeEnd, \"{end}\"");
            return Err(Broken::new(problem).under("rangeStart"));
        }
        let gateway = address(&raw.gateway, "gateway")?.unwrap_or(second);
        Ok(SetRange { subnet, start, end, gateway })
    }
}

impl RangeSet {
    /// The ranges, in order of use.
    pub fn ranges(&self) -> &[SetRange] {
        &self.ranges
    }

    /// The range of the set that the address lies in.
    pub fn covering(&self, address: IpAddr) -> Option<&SetRange> {
        self.ranges.iter().find(|range| range.covers(address))
    }

    /// Whether the addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.ranges.iter().any(|range| range.subnet.is_ipv4())
    }

    /// The set of one range.
    pub(crate) fn single(raw: &raw::IpamRange) -> Result<RangeSet, Broken> {
        Ok(RangeSet { ranges: vec![SetRange::from_raw(raw)?] })
    }

    pub(crate) fn from_raw(raw: &[raw::IpamRange]) -> Result<RangeSet, Broken> {
        let mut ranges: Vec<SetRange> = Vec::with_capacity(raw.len());
        for (index, raw) in raw.iter().enumerate() {
            let at = |broken: Broken| broken.under(format_args!("[{index}]"));
            let range = SetRange::from_raw(raw).map_err(at)?;
            if ranges.last().is_some_and(|last| last.subnet.is_ipv4() != range.subnet.is_ipv4()) {
                let problem =
                    "is of another family than the range before it; make it a set of its own";
                return Err(at(Broken::new(format!("{range} {problem}"))));
            }
            ranges.push(range);
        }
        if ranges.is_empty() {
            return Err(Broken::new("has no range; give it one with a subnet"));
        }
        let spans = ranges.iter().enumerate().map(|(index, range)| (index, range.start, range.end));
        if let Some([_, index]) = overlap(spans) {
            let problem = format!("{} overlaps another range of its set", ranges[index]);
            return Err(Broken::new(problem).under(format_args!("[{index}]")));
        }
        Ok(RangeSet { ranges })
    }

    /// Two of these sets that overlap, by their places in the list, the earlier first.
    pub(crate) fn overlap<'a>(sets: impl Iterator<Item = &'a RangeSet>) -> Option<[usize; 2]> {
        overlap(sets.enumerate().flat_map(|(place, set)| {
            set.ranges.iter().map(move |range| (place, range.start, range.end))
        }))
    }
}

fn address(text: &Option<String>, field: &str) -> Result<Option<IpAddr>, Broken> {
    let text = text.as_deref().filter(|text| !text.is_empty());
    let address = text.map(parse_address).transpose();
    address.map_err(|problem| Broken::new(problem).under(field))
}

fn inside(subnet: IpNetwork, text: &Option<String>, field: &str) -> Result<Option<IpAddr>, Broken> {
    match address(text, field)? {
        Some(address) if !subnet.contains(address) => {
            Err(Broken::new(format!("\"{address}\" is not inside {subnet}")).under(field))
        }
        address => Ok(address),
    }
}

/// The last address that a host may have: IPv4 keeps its very last for broadcasts.
fn last_of(subnet: IpNetwork) -> IpAddr {
    match subnet.broadcast() {
        IpAddr::V4(last) => IpAddr::V4((last.to_bits() - 1).into()),
        last => last,
    }
}

/// `10.1.2.1-10.1.2.254`
impl fmt::Display for SetRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.start, self.end)
    }
}

/// The ranges, joined by commas.
impl fmt::Display for RangeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
