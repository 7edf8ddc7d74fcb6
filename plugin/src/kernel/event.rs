//! What the kernel tells of by itself: something has come, changed or gone. Decoded in our nouns, and
//! as with answers only what we use.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::attribute::{find, find_text};
use super::decode::{address, any_neighbour, fdb, is_ours, link, neighbour, number};
use super::nowhere::{OurRoute, our_route};
use super::{FdbEntry, Link, Neighbour, Way, nft, ways};

/// One thing that has happened in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device is there, new or changed; and whether it has a carrier.
    Link(Link, bool),
    /// A device is gone.
    LinkGone(Link),
    /// A device of this index has an address, or has it no more.
    Address {
        /// Its device.
        dev: u32,
        /// The address.
        address: IpNetwork,
        /// Whether it is there now.
        there: bool,
    },
    /// A route of ours in the main table.
    OurRoute {
        /// The route.
        route: OurRoute,
        /// Whether it is there now.
        there: bool,
    },
    /// Any other route.
    Route {
        /// The route.
        way: Way,
        /// Whether it is there now.
        there: bool,
    },
    /// A neighbour entry.
    Neighbour {
        /// Its device.
        dev: u32,
        /// Whose it is.
        address: IpAddr,
        /// What is there now, if that is permanent and ours.
        ours: Option<Neighbour>,
    },
    /// An entry of a forwarding database.
    Fdb {
        /// Its device.
        dev: u32,
        /// The entry.
        entry: FdbEntry,
        /// Whether it is there now.
        there: bool,
    },
    /// A rule that leads to a routing table.
    Rule,
    /// A setting of the device of this index; `None` if it is one of all devices.
    Setting(Option<u32>),
    /// The rules in the nft table of ours.
    Filter,
    /// IPsec policies.
    Policies,
}

/// An event from a message of rtnetlink: its type and its payload. `None` if it does not concern us.
pub fn event(kind: u16, payload: &[u8]) -> Option<Event> {
    const IFF_RUNNING: u32 = 0x40;
    const AF_BRIDGE: u8 = 7;
    const RTM_TABLE: usize = 4;
    const RT_TABLE_MAIN: u8 = 254;
    let family = *payload.first()?;
    // Each kind comes in pairs: NEW is even, DEL is odd.
    let there = kind % 2 == 0;
    match kind & !1 {
        // A port's own message says that it left the bridge, not that it is gone.
        16 if family == AF_BRIDGE => None,
        16 if there => {
            let running = number(payload.get(8..12)?)? & IFF_RUNNING != 0;
            Some(Event::Link(link(payload)?, running))
        }
        16 => Some(Event::LinkGone(link(payload)?)),
        20 => {
            let (dev, address) = address(payload)?;
            Some(Event::Address { dev, address, there })
        }
        24 if is_ours(payload) => {
            let in_main = payload.get(RTM_TABLE) == Some(&RT_TABLE_MAIN);
            let route = our_route(payload).filter(|_| in_main)?;
            Some(Event::OurRoute { route, there })
        }
        24 => Some(Event::Route { way: ways::way(payload)?, there }),
        28 => {
            let dev = number(payload.get(4..8)?)?;
            if family == AF_BRIDGE {
                return Some(Event::Fdb { dev, entry: fdb(payload, dev)?, there });
            }
            let ours = neighbour(payload, dev).filter(|_| there);
            Some(Event::Neighbour { dev, address: any_neighbour(payload)?, ours })
        }
        32 => Some(Event::Rule),
        80 => {
            const NETCONFMSG: usize = 4;
            const NETCONFA_IFINDEX: u16 = 1;
            let index = number(find(payload.get(NETCONFMSG..)?, NETCONFA_IFINDEX)?)?;
            match index as i32 {
                // NETCONFA_IFINDEX_ALL; that of the default says nothing about a device.
                -1 => Some(Event::Setting(None)),
                -2 => None,
                _ => Some(Event::Setting(Some(index))),
            }
        }
        _ => None,
    }
}

/// A message of nf_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterEvent {
    /// Something in our table is another.
    Ours,
    /// A transaction is complete.
    Done,
}

/// The same from a message of nf_tables. Other programs' tables do not concern us: they come in
/// storms, and what they drop an ADD that applies the range file tells.
pub fn filter_event(kind: u16, payload: &[u8]) -> Option<FilterEvent> {
    const NFGENMSG: usize = 4;
    const NFPROTO_INET: u8 = 1;
    const NFT_MSG_NEWGEN: u16 = 15;
    /// Of whatever object.
    const TABLE: u16 = 1;
    if kind & 0xff == NFT_MSG_NEWGEN {
        return Some(FilterEvent::Done);
    }
    let attributes = payload.get(NFGENMSG..)?;
    let ours =
        payload.first() == Some(&NFPROTO_INET) && find_text(attributes, TABLE) == Some(nft::TABLE);
    ours.then_some(FilterEvent::Ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Unreachable;
    use crate::kernel::attribute::numbered;

    const DEV: [u8; 4] = 7_u32.to_ne_bytes();

    #[test]
    fn a_message_says_what_is_there_now() {
        let with = |head: &[u8], attributes: &[(u16, &[u8])]| {
            [head.to_vec(), numbered(attributes)].concat()
        };
        let device = with(&[0, 0, 1, 0, 7, 0, 0, 0, 0x43, 0, 0, 0, 0, 0, 0, 0], &[(3, b"eth0\0")]);
        let known = link(&device).unwrap();
        assert_eq!(event(16, &device), Some(Event::Link(known.clone(), true)));
        assert_eq!(event(17, &device), Some(Event::LinkGone(known)));
        let port = [&[7], &device[1..]].concat();
        assert_eq!(event(17, &port), None, "a port that leaves its bridge");

        let own = with(&[2, 24, 0, 0, 7, 0, 0, 0], &[(2, &[10, 0, 0, 1])]);
        let address = "10.0.0.1/24".parse().unwrap();
        for (kind, there) in [(20, true), (21, false)] {
            assert_eq!(event(kind, &own), Some(Event::Address { dev: 7, address, there }));
        }

        let to: &[(u16, &[u8])] = &[(1, &[10, 1, 2, 0]), (4, &DEV)];
        let route =
            |protocol, table, kind| with(&[2, 24, 0, 0, table, protocol, 0, kind, 0, 0, 0, 0], to);
        let is_ours = |event| matches!(event, Some(Event::OurRoute { there: true, .. }));
        assert!(is_ours(event(24, &route(102, 254, 1))));
        assert_eq!(event(24, &route(102, 100, 1)), None, "in a table where ours are not");
        let end = Unreachable { dst: "10.1.2.0/24".parse().unwrap(), metric: 0 };
        let end = Event::OurRoute { route: OurRoute::Ends(end), there: false };
        assert_eq!(event(25, &route(102, 254, 7)), Some(end));
        match event(24, &route(3, 254, 1)) {
            Some(Event::Route { way, there: true }) => assert_eq!(way.hops, [(7, false)]),
            other => panic!("{other:?}"),
        }

        let entry = |family, state: u8, protocol: u8| {
            let head = [family, 0, 0, 0, 7, 0, 0, 0, state, 0, 0, 0];
            with(&head, &[(1, &[10, 1, 2, 0]), (2, &[2; 6]), (12, &[protocol])])
        };
        let ours = |kind, bytes: &[u8]| match event(kind, bytes) {
            Some(Event::Neighbour { dev: 7, ours, .. }) => ours.is_some(),
            other => panic!("{other:?}"),
        };
        assert!(ours(28, &entry(2, 0x80, 102)));
        assert!(!ours(29, &entry(2, 0x80, 102)), "it is gone");
        assert!(!ours(28, &entry(2, 0x02, 102)), "it is no longer permanent");
        assert!(!ours(28, &entry(2, 0x80, 0)), "another program's");
        let is_fdb = |event| matches!(event, Some(Event::Fdb { dev: 7, there: false, .. }));
        assert!(is_fdb(event(29, &entry(7, 0x80, 0))));

        assert_eq!(event(32, &[2; 12]), Some(Event::Rule));
        let setting = |index: i32| event(80, &with(&[2, 0, 0, 0], &[(1, &index.to_ne_bytes())]));
        assert_eq!(setting(7), Some(Event::Setting(Some(7))));
        assert_eq!(setting(-1), Some(Event::Setting(None)));
        assert_eq!(setting(-2), None);
        assert_eq!(event(999, &[0; 40]), None, "a kind of next year");
        (16..34).for_each(|kind| drop(event(kind, &[2])));
    }

    #[test]
    fn of_the_packet_filter_only_our_table_concerns_us() {
        let table = |family, name: &[u8]| [vec![family, 0, 0, 0], numbered(&[(1, name)])].concat();
        let kind = |message: u16| (10 << 8) | message;
        for message in [0, 1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14] {
            let ours = filter_event(kind(message), &table(1, b"flatnet\0"));
            assert_eq!(ours, Some(FilterEvent::Ours), "{message}");
        }
        assert_eq!(filter_event(kind(6), &table(1, b"kube-proxy\0")), None);
        assert_eq!(filter_event(kind(6), &table(2, b"flatnet\0")), None, "of another family");
        let done = numbered(&[(1, &[0, 0, 0, 9]), (2, &[0, 0, 1, 2])]);
        let done = filter_event(kind(15), &[vec![0, 0, 0, 9], done].concat());
        assert_eq!(done, Some(FilterEvent::Done));
        assert_eq!(filter_event(kind(6), &[1]), None);
    }
}
