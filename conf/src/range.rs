//! One range of pod addresses: a subnet, and which part of it is given out.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::address::{
    ahead, bits, canonical, parse_address, parse_canonical, predecessor, special_use, successor,
};
use crate::error::Broken;
use crate::{Error, raw};

/// A range of pod addresses that keeps every rule of the range file that concerns it alone. As
/// JSON it is what the range file has: a CIDR string, or an object where only a part is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "raw::Range<'static>")]
pub struct Range {
    subnet: IpNetwork,
    start: IpAddr,
    end: IpAddr,
    /// Sorted by first address, larger networks first, which `next_after` relies on.
    exclude: Vec<IpNetwork>,
    retiring: bool,
}

impl Range {
    /// The range that gives the addresses of `subnet` from `start` to `end` (the subnet's first
    /// and last where absent), less those in `exclude`. A broken rule is an error with code 7.
    pub fn new(
        subnet: IpNetwork,
        start: Option<IpAddr>,
        end: Option<IpAddr>,
        exclude: Vec<IpNetwork>,
    ) -> Result<Range, Error> {
        build(subnet, start, end, exclude).map_err(|broken| broken.in_document("range"))
    }

    /// Reads `10.244.1.0/24`: a range that gives all of a subnet.
    pub fn parse(text: &str) -> Result<Range, Error> {
        Range::from_raw(&raw::Range::Subnet(text.into()))
            .map_err(|broken| broken.in_document("range"))
    }

    /// A range that a runtime asks for; its gateway is of no interest.
    pub(crate) fn from_runtime(raw: &raw::IpamRange) -> Result<Range, Broken> {
        let subnet = raw.subnet.clone().ok_or_else(|| {
            Broken::new("is missing; give the subnet in CIDR notation").under("subnet")
        })?;
        Range::from_raw(&raw::Range::Object(raw::RangeObject {
            subnet,
            range_start: raw.range_start.clone(),
            range_end: raw.range_end.clone(),
            exclude: Vec::new(),
            retiring: false,
        }))
    }

    pub(crate) fn from_raw(raw: &raw::Range<'_>) -> Result<Range, Broken> {
        let object = match raw {
            raw::Range::Subnet(subnet) => {
                return build(parse_canonical(subnet)?, None, None, Vec::new());
            }
            raw::Range::Object(object) => object,
        };
        let address = |text: &Option<String>, field| {
            let address = text.as_deref().map(parse_address).transpose();
            address.map_err(|problem| Broken::new(problem).under(field))
        };
        let subnet = parse_canonical(&object.subnet);
        let subnet = subnet.map_err(|problem| Broken::new(problem).under("subnet"))?;
        let start = address(&object.range_start, "rangeStart")?;
        let end = address(&object.range_end, "rangeEnd")?;
        let exclude = object.exclude.iter().enumerate().map(|(index, text)| {
            parse_canonical(text)
                .map_err(|problem| Broken::new(problem).under(format_args!("exclude[{index}]")))
        });
        let range = build(subnet, start, end, exclude.collect::<Result<_, _>>()?)?;
        Ok(Range { retiring: object.retiring, ..range })
    }

    /// The same range, held for the pods that live in it alone.
    pub fn retire(self) -> Range {
        Range { retiring: true, ..self }
    }

    /// The subnet, canonical (no host bits).
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// `rangeStart`, or the subnet's first address.
    pub fn start(&self) -> IpAddr {
        self.start
    }

    /// `rangeEnd`, or the subnet's last address.
    pub fn end(&self) -> IpAddr {
        self.end
    }

    /// What is left out between start and end, sorted.
    pub fn exclude(&self) -> &[IpNetwork] {
        &self.exclude
    }

    /// Whether no new pod gets an address of it; those that pods have it gives still.
    pub fn is_retiring(&self) -> bool {
        self.retiring
    }

    /// Whether it gives all of a subnet, as a CIDR string says.
    pub(crate) fn is_whole(&self) -> bool {
        self.start == self.subnet.network()
            && self.end == self.subnet.broadcast()
            && self.exclude.is_empty()
            && !self.retiring
    }

    /// The same as an object of the range file.
    pub(crate) fn object(&self) -> raw::RangeObject {
        let differs = |address: IpAddr, default| (address != default).then(|| address.to_string());
        raw::RangeObject {
            subnet: self.subnet.to_string(),
            range_start: differs(self.start, self.subnet.network()),
            range_end: differs(self.end, self.subnet.broadcast()),
            exclude: self.exclude.iter().map(ToString::to_string).collect(),
            retiring: self.retiring,
        }
    }

    /// Whether the address lies in the subnet, given out or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnet.contains(address)
    }

    /// Whether a pod may get this address: from start to end, not excluded, neither the subnet's
    /// first address (the VTEP address) nor the IPv4 broadcast address.
    pub fn gives(&self, address: IpAddr) -> bool {
        self.lowest() <= Some(address)
            && address <= self.end
            && self.contains(address)
            && !self.is_broadcast(address)
            && !self.exclude.iter().any(|excluded| excluded.contains(address))
    }

    /// The next address the range gives after this one, or its first for `None`; `None` at the
    /// end, and after an address of the other family. Costs a step per exclude, not per address.
    pub fn next_after(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let lowest = self.lowest()?;
        let mut next = match address {
            Some(address) if address.is_ipv4() != lowest.is_ipv4() => return None,
            Some(address) => successor(address)?.max(lowest),
            None => lowest,
        };
        // One pass will do: an earlier exclude that held the new candidate would also hold this
        // later one, as networks are nested or apart, and would have been jumped over with it.
        for excluded in &self.exclude {
            if excluded.contains(next) {
                next = successor(excluded.broadcast())?;
            }
        }
        (next <= self.end && !self.is_broadcast(next)).then_some(next)
    }

    /// The first and the last address that it gives, if it gives any.
    pub fn bounds(&self) -> Option<(IpAddr, IpAddr)> {
        let mut last = self.end;
        if self.is_broadcast(last) {
            last = predecessor(last)?;
        }
        for excluded in self.exclude.iter().rev() {
            if excluded.contains(last) {
                last = predecessor(excluded.network())?;
            }
        }
        self.next_after(None).filter(|first| *first <= last).map(|first| (first, last))
    }

    /// An address from start to end, given out or not: which one, the number decides, whatever it is. Of a
    /// large range it is one of the first 65,536.
    pub fn pick(&self, number: u64) -> IpAddr {
        let largest = bits(self.end).saturating_sub(bits(self.start));
        let count = u64::from(u16::try_from(largest).unwrap_or(u16::MAX)) + 1;
        ahead(self.start, u16::try_from(number % count).unwrap_or_default())
    }

    /// The first address between start and end that is not the VTEP address.
    fn lowest(&self) -> Option<IpAddr> {
        successor(self.subnet.network()).map(|second| second.max(self.start))
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        self.subnet.is_ipv4() && address == self.subnet.broadcast()
    }
}

fn build(
    subnet: IpNetwork,
    start: Option<IpAddr>,
    end: Option<IpAddr>,
    mut exclude: Vec<IpNetwork>,
) -> Result<Range, Broken> {
    let subnet = canonical(subnet)?;
    if let Some(special) = special_use(subnet) {
        return Err(Broken::new(format!("\"{subnet}\" overlaps the {special}")));
    }
    let inside = |address: Option<IpAddr>, default, field| match address {
        Some(address) if !subnet.contains(address) => {
            Err(Broken::new(format!("\"{address}\" is not inside {subnet}")).under(field))
        }
        address => Ok(address.unwrap_or(default)),
    };
    let start = inside(start, subnet.network(), "rangeStart")?;
    let end = inside(end, subnet.broadcast(), "rangeEnd")?;
    if start > end {
        return Err(
            Broken::new(format!("\"{start}\" is above rangeEnd, \"{end}\"")).under("rangeStart")
        );
    }
    for (index, excluded) in exclude.iter_mut().enumerate() {
        let at = |problem: String| Broken::new(problem).under(format_args!("exclude[{index}]"));
        *excluded = canonical(*excluded).map_err(at)?;
        if !subnet.contains(excluded.network()) || excluded.prefix() < subnet.prefix() {
            return Err(at(format!("\"{excluded}\" is not inside {subnet}")));
        }
    }
    exclude.sort_by_key(|excluded| (bits(excluded.network()), excluded.prefix()));
    let range = Range { subnet, start, end, exclude, retiring: false };
    if range.next_after(None).is_none() {
        return Err(Broken::new(format!(
            "\"{subnet}\" has no address for a pod: its first address is the node's own, and \
             broadcast and excluded ones are not given; use a larger subnet or exclude less"
        )));
    }
    Ok(range)
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range, D::Error> {
        Range::from_raw(&raw::Range::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl From<Range> for raw::Range<'static> {
    fn from(range: Range) -> raw::Range<'static> {
        match range.is_whole() {
            true => raw::Range::Subnet(range.subnet.to_string().into()),
            false => raw::Range::Object(range.object()),
        }
    }
}

#[cfg(test)]
mod tests;
