//! Routes that lead nowhere: ours, which end what no node has, and those of others.

use ipnetwork::IpNetwork;

use super::Route;
use super::attribute::find;
use super::decode::{address_in, anywhere, is_ours, number, route};

/// A route of ours that ends what goes to a destination, with an ICMP message to its sender.
/// `ip route show type unreachable`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unreachable {
    /// Destination prefix.
    pub dst: IpNetwork,
    /// Priority; lower wins.
    pub metric: u32,
}

/// All routes of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OurRoutes {
    /// Those that lead somewhere, with the index of their device.
    pub routes: Vec<(u32, Route)>,
    /// Those that end what they take.
    pub unreachable: Vec<Unreachable>,
}

impl OurRoutes {
    /// These and others.
    pub fn and(mut self, others: Self) -> Self {
        self.routes.extend(others.routes);
        self.unreachable.extend(others.unreachable);
        self
    }
}

impl FromIterator<OurRoute> for OurRoutes {
    fn from_iter<I: IntoIterator<Item = OurRoute>>(all: I) -> Self {
        let mut ours = Self::default();
        for route in all {
            match route {
                OurRoute::Leads(dev, route) => ours.routes.push((dev, route)),
                OurRoute::Ends(route) => ours.unreachable.push(route),
            }
        }
        ours
    }
}

/// Another program's route that leads nowhere: the kernel answers with an errno for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnd {
    /// `blackhole`, `unreachable`, `prohibit` or `throw`.
    pub kind: &'static str,
    /// Destination prefix.
    pub dst: IpNetwork,
    /// Priority; lower wins.
    pub metric: u32,
    /// The table that it is in.
    pub table: u32,
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OurRoute {
    /// It leads somewhere, by the device of this index.
    Leads(u32, Route),
    /// It ends what it takes.
    Ends(Unreachable),
}

/// A route of ours, wherever it leads.
pub fn our_route(payload: &[u8]) -> Option<OurRoute> {
    match route(payload) {
        Some((dev, route)) => Some(OurRoute::Leads(dev, route)),
        None => unreachable(payload).map(OurRoute::Ends),
    }
}

/// The same, if it is in the table in which ours are. Of all tables there may be other programs' with our number.
pub fn our_route_in_main(payload: &[u8]) -> Option<OurRoute> {
    const RTM_TABLE: usize = 4;
    const RT_TABLE_MAIN: u8 = 254;
    if payload.get(RTM_TABLE) == Some(&RT_TABLE_MAIN) { our_route(payload) } else { None }
}

fn unreachable(payload: &[u8]) -> Option<Unreachable> {
    let DeadEnd { kind, dst, metric, .. } = nowhere(payload).filter(|_| is_ours(payload))?;
    (kind == "unreachable").then_some(Unreachable { dst, metric })
}

/// Another program's route that leads nowhere.
pub fn dead_end(payload: &[u8]) -> Option<DeadEnd> {
    if is_ours(payload) { None } else { nowhere(payload) }
}

fn nowhere(payload: &[u8]) -> Option<DeadEnd> {
    const RTMSG: usize = 12;
    let &[family, length, _, _, table, _, _, kind, ..] = payload.first_chunk::<RTMSG>()?;
    let kind = match kind {
        6 => "blackhole",   // RTN_BLACKHOLE
        7 => "unreachable", // RTN_UNREACHABLE
        8 => "prohibit",    // RTN_PROHIBIT
        9 => "throw",       // RTN_THROW
        _ => return None,
    };
    let attributes = payload.get(RTMSG..)?;
    let number = |kind| find(attributes, kind).and_then(number);
    let dst = match find(attributes, 1) {
        Some(dst) => address_in(dst)?,
        None => anywhere(family),
    };
    Some(DeadEnd {
        kind,
        dst: IpNetwork::new(dst, length).ok()?,
        metric: number(6).unwrap_or(0), // RTA_PRIORITY
        table: number(15).unwrap_or_else(|| table.into()), // RTA_TABLE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attribute::numbered;

    #[test]
    fn a_route_that_leads_nowhere_is_ours_or_names_its_kind() {
        let bytes = |family, protocol, kind, attributes: &[(u16, &[u8])]| {
            let mut bytes = vec![family, 24, 0, 0, 254, protocol, 0, kind, 0, 0, 0, 0];
            bytes.extend(numbered(attributes));
            bytes
        };
        let (metric, table) = (9_u32.to_ne_bytes(), 500_u32.to_ne_bytes());
        let four: &[(u16, &[u8])] = &[(1, &[10, 1, 2, 0]), (6, &metric), (15, &table)];
        let ours = bytes(2, 102, 7, four);
        let dst: IpNetwork = "10.1.2.0/24".parse().unwrap();
        assert_eq!(our_route(&ours), Some(OurRoute::Ends(Unreachable { dst, metric: 9 })));
        assert_eq!(dead_end(&ours), None);
        for (kind, word) in [(6, "blackhole"), (7, "unreachable"), (8, "prohibit"), (9, "throw")] {
            let theirs = dead_end(&bytes(2, 3, kind, four));
            assert_eq!(theirs, Some(DeadEnd { kind: word, dst, metric: 9, table: 500 }));
        }
        assert_eq!(dead_end(&bytes(2, 3, 1, four)), None, "it leads somewhere");
        let plain = dead_end(&bytes(10, 3, 7, &[])).unwrap();
        assert_eq!((plain.dst, plain.metric, plain.table), ("::/24".parse().unwrap(), 0, 254));
    }
}
