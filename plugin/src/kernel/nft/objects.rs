//! The objects of our nft table as plain data, and the netlink messages that make or remove them.
//! No socket here: what is sent for a rule set can be tested without privilege.

use crate::kernel::attribute::Attribute;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The table that is ours, of family inet: both IP families in one.
pub(in crate::kernel) const TABLE: &str = "flatnet";

/// At most this many elements in a message: an attribute's length has 16 bits, and an IPv6 element
/// of an interval takes 36 bytes.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// `NFTA_CHAIN_HOOK`: only a base chain has one.
pub(super) const CHAIN_HOOK: u16 = 4;

/// `NFT_MSG_*`, the requests we make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    GetSet = 10,
    DelSet = 11,
    NewElements = 12,
    GetElements = 13,
    DelElements = 14,
    GetGeneration = 16,
}

/// One message of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// What is done to what, for errors: `add chain input-4096`.
    pub(super) action: String,
    pub(super) request: Request,
    pub(super) attributes: Vec<Attribute>,
}

impl Message {
    /// What it does, in words close to nft(8).
    pub(super) fn command(&self) -> String {
        format!("nft (table inet {TABLE}) {}", self.action)
    }
}

/// The two IP families of a table of family inet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bytes of an address.
    pub(super) fn length(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Where the source address stands in the header, in bytes.
    pub(super) fn source(self) -> u32 {
        match self {
            Family::V4 => 12,
            Family::V6 => 8,
        }
    }

    /// Where the destination address stands in the header, in bytes.
    pub(super) fn destination(self) -> u32 {
        self.source() + self.length()
    }

    /// The number by which nft shows elements as addresses (`ipv4_addr`, `ipv6_addr`).
    fn key_type(self) -> u32 {
        match self {
            Family::V4 => 7,
            Family::V6 => 8,
        }
    }
}

/// An address as it stands in a packet or a set.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An element of a set. An interval is two: its first address, and the one after its last with
/// `end`; one that reaches the top of the address space has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    pub(super) key: IpAddr,
    pub(super) end: bool,
}

impl Element {
    fn attribute(self) -> Attribute {
        let mut inner = vec![Attribute::Nest(1, vec![Attribute::Value(1, octets(self.key))])];
        if self.end {
            inner.push(Attribute::number(3, 1)); // NFT_SET_ELEM_INTERVAL_END
        }
        Attribute::Nest(1, inner)
    }
}

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) interval: bool,
    pub(super) elements: BTreeSet<Element>,
}

impl Set {
    /// `NFT_SET_INTERVAL`, or none.
    pub(super) fn flags(&self) -> u32 {
        if self.interval { 4 } else { 0 }
    }

    /// How many elements it is made for; `None` for intervals, of which the kernel keeps a tree. Where
    /// it knows how many there can be, it takes a plain hash table, which each packet passes faster
    /// than one that can grow. Nodes that join fill it up; then the set is made anew.
    fn room(&self) -> Option<u32> {
        let twice = u32::try_from(2 * self.elements.len()).unwrap_or(u32::MAX / 2);
        (!self.interval).then(|| twice.max(64).next_power_of_two())
    }

    /// Whether a set made for so many elements will do.
    pub(super) fn fits(&self, made_for: Option<u32>) -> bool {
        match (self.room(), made_for) {
            (Some(_), Some(size)) => self.elements.len() <= size as usize,
            (wanted, has) => wanted.is_none() && has.is_none(),
        }
    }

    /// `nft add set inet flatnet ...` and `nft add element ...`; `id` is the set's alone in its
    /// transaction.
    pub(super) fn add(&self, id: u32) -> Vec<Message> {
        let set = Message {
            action: format!("add set {}", self.name),
            request: Request::NewSet,
            attributes: [
                vec![
                    Attribute::text(1, TABLE),
                    Attribute::text(2, &self.name),
                    Attribute::number(3, self.flags()),
                    Attribute::number(4, self.family.key_type()),
                    Attribute::number(5, self.family.length()),
                    Attribute::number(10, id),
                ],
                // NFTA_SET_DESC, NFTA_SET_DESC_SIZE
                self.room()
                    .map(|room| Attribute::Nest(9, vec![Attribute::number(1, room)]))
                    .into_iter()
                    .collect(),
            ]
            .concat(),
        };
        let elements = self.elements.iter().copied();
        std::iter::once(set)
            .chain(change_elements(Request::NewElements, &self.name, elements))
            .collect()
    }
}

/// `nft add element` or `nft delete element`, in as many messages as it takes.
pub(super) fn change_elements(
    request: Request,
    set: &str,
    elements: impl Iterator<Item = Element>,
) -> Vec<Message> {
    let verb = if request == Request::DelElements { "delete" } else { "add" };
    let elements: Vec<Attribute> = elements.map(Element::attribute).collect();
    elements
        .chunks(ELEMENTS_PER_MESSAGE)
        .map(|chunk| Message {
            action: format!("{verb} elements of set {set}"),
            request,
            attributes: vec![
                Attribute::text(1, TABLE),
                Attribute::text(2, set),
                Attribute::Nest(3, chunk.to_vec()),
            ],
        })
        .collect()
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) comment: String,
    pub(super) expressions: Vec<Attribute>,
}

impl Rule {
    /// What makes the rule this one, wherever it stands.
    pub(super) fn attributes(&self) -> Vec<Attribute> {
        vec![Attribute::Nest(4, self.expressions.clone()), Attribute::Value(7, self.user_data())]
    }

    /// The comment as nft stores it: type 0, length, text and NUL. nft takes 128 bytes with the
    /// NUL; a network's name, which is ASCII, may be longer.
    fn user_data(&self) -> Vec<u8> {
        let text: String = self.comment.chars().take(127).collect();
        [&[0, text.len() as u8 + 1], text.as_bytes(), &[0]].concat()
    }
}

/// `type` of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainType {
    Filter,
    Nat,
}

/// Where in a packet's way a chain stands (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// How packets come into a chain by themselves. Its policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) kind: ChainType,
    pub(super) hook: Hook,
    pub(super) priority: i32,
}

/// A chain with its rules; without a base, other chains' rules lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

impl Chain {
    /// What makes the chain this one, its rules aside.
    pub(super) fn attributes(&self) -> Vec<Attribute> {
        const NF_ACCEPT: u32 = 1;
        let mut attributes = vec![Attribute::text(1, TABLE), Attribute::text(3, &self.name)];
        if let Some(Base { kind, hook, priority }) = self.base {
            let kind = match kind {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
            };
            let hook = [(1, hook as u32), (2, priority as u32)]; // as two's complement
            let hook = hook.map(|(kind, n)| Attribute::number(kind, n)).to_vec();
            attributes.extend([
                Attribute::Nest(CHAIN_HOOK, hook),
                Attribute::number(5, NF_ACCEPT),
                Attribute::text(7, kind),
            ]);
        }
        attributes
    }

    /// `nft add chain inet flatnet ...` and `nft add rule ...`
    pub(super) fn add(&self) -> Vec<Message> {
        let chain = Message {
            action: format!("add chain {}", self.name),
            request: Request::NewChain,
            attributes: self.attributes(),
        };
        std::iter::once(chain).chain(self.add_rules()).collect()
    }

    /// `nft flush chain inet flatnet ...` and `nft add rule ...`: other chains' rules may lead here
    /// meanwhile.
    pub(super) fn refill(&self) -> Vec<Message> {
        let flush = Message {
            action: format!("flush chain {}", self.name),
            request: Request::DelRule,
            attributes: vec![Attribute::text(1, TABLE), Attribute::text(2, &self.name)],
        };
        std::iter::once(flush).chain(self.add_rules()).collect()
    }

    fn add_rules(&self) -> impl Iterator<Item = Message> {
        self.rules.iter().map(|rule| Message {
            action: format!("add rule \"{}\" to chain {}", rule.comment, self.name),
            request: Request::NewRule,
            attributes: [
                vec![Attribute::text(1, TABLE), Attribute::text(2, &self.name)],
                rule.attributes(),
            ]
            .concat(),
        })
    }
}

/// `nft add table inet flatnet`, awake if it was put to sleep.
pub(super) fn add_table() -> Message {
    Message {
        action: "add the table".into(),
        request: Request::NewTable,
        attributes: vec![Attribute::text(1, TABLE), Attribute::number(2, 0)],
    }
}

/// `nft delete table inet flatnet`
pub(super) fn delete_table() -> Message {
    Message {
        action: "delete the table".into(),
        request: Request::DelTable,
        attributes: vec![Attribute::text(1, TABLE)],
    }
}

/// `nft delete chain inet flatnet NAME`, its rules included.
pub(super) fn delete_chain(name: &str) -> Message {
    Message {
        action: format!("delete chain {name}"),
        request: Request::DelChain,
        attributes: vec![Attribute::text(1, TABLE), Attribute::text(3, name)],
    }
}

/// `nft delete set inet flatnet NAME`
pub(super) fn delete_set(name: &str) -> Message {
    Message {
        action: format!("delete set {name}"),
        request: Request::DelSet,
        attributes: vec![Attribute::text(1, TABLE), Attribute::text(2, name)],
    }
}
