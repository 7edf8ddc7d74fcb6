//! The objects of our nft table as plain data, and the netlink messages that make or remove them.
//! No socket here: what is sent for a rule set can be tested without privilege.

use super::expression::Expression;
pub(crate) use netlink_packet_netfilter::nftables::InetHookNumber;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook, HookNumber, ListAttribute, NfTablesMessage,
    RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute, SetElementFlags,
    SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute, TableFlags,
    TableMessage,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The table that is ours, of family inet: both IP families in one.
pub(in crate::kernel) const TABLE: &str = "flatnet";

/// At most this many elements in a message: an attribute's length has 16 bits, and an IPv6 element
/// of an interval takes 36 bytes.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// `NFTA_CHAIN_HOOK`: only a base chain has one.
pub(super) const CHAIN_HOOK: u16 = 4;

/// One message of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// What is done to what, for errors: `add chain input-4096`.
    pub(super) action: String,
    pub(super) content: NfTablesMessage,
}

impl Message {
    fn new(action: impl Into<String>, content: NfTablesMessage) -> Self {
        Self { action: action.into(), content }
    }

    /// What it does, in words close to nft(8).
    pub(super) fn command(&self) -> String {
        format!("nft (table inet {TABLE}) {}", self.action)
    }
}

/// The two IP families of a table of family inet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bytes of an address.
    pub(crate) fn length(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Where the source address stands in the header, in bytes.
    pub(crate) fn source(self) -> u32 {
        match self {
            Family::V4 => 12,
            Family::V6 => 8,
        }
    }

    /// Where the destination address stands in the header, in bytes.
    pub(crate) fn destination(self) -> u32 {
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
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An element of a set. An interval is two: its first address, and the one after its last with
/// `end`; one that reaches the top of the address space has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: IpAddr,
    pub(crate) end: bool,
}

impl Element {
    fn attribute(self) -> ListAttribute<SetElementAttribute> {
        let key = DataAttribute::Value(octets(self.key));
        let mut inner = vec![SetElementAttribute::Key(key)];
        if self.end {
            inner.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
        }
        ListAttribute::Element(inner)
    }
}

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) interval: bool,
    pub(crate) elements: BTreeSet<Element>,
}

impl Set {
    /// An interval's, or none.
    pub(super) fn flags(&self) -> SetFlags {
        if self.interval { SetFlags::Interval } else { SetFlags::empty() }
    }

    /// How many elements it is made for; `None` for intervals, of which the kernel keeps a tree. Where
    /// it knows how many there can be, it takes a plain hash table, which each packet passes faster
    /// than one that can grow. Nodes that join fill it up; then the set is made again.
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
        let mut attributes = named_set(&self.name);
        attributes.extend([
            SetAttribute::Flags(self.flags()),
            SetAttribute::KeyType(self.family.key_type()),
            SetAttribute::KeyLen(self.family.length()),
            SetAttribute::Id(id),
        ]);
        let size = |room| SetAttribute::Description(vec![SetDescription::Size(room)]);
        attributes.extend(self.room().map(size));
        let set = NfTablesMessage::NewSet(SetMessage { attributes });
        let set = Message::new(format!("add set {}", self.name), set);
        let elements = self.elements.iter().copied();
        std::iter::once(set).chain(change_elements(Change::Add, &self.name, elements)).collect()
    }
}

/// What becomes of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Delete,
}

/// `nft add element` or `nft delete element`, in as many messages as it takes.
pub(super) fn change_elements(
    change: Change,
    set: &str,
    elements: impl Iterator<Item = Element>,
) -> Vec<Message> {
    let elements: Vec<_> = elements.map(Element::attribute).collect();
    let message = |chunk: &[ListAttribute<SetElementAttribute>]| {
        let elements = SetElementList::Elements(chunk.to_vec());
        let table = SetElementList::Table(TABLE.into());
        let attributes = vec![table, SetElementList::Set(set.into()), elements];
        let content = SetElementMessage { attributes };
        let (verb, content) = match change {
            Change::Add => ("add", NfTablesMessage::NewSetElement(content)),
            Change::Delete => ("delete", NfTablesMessage::DeleteSetElement(content)),
        };
        Message::new(format!("{verb} elements of set {set}"), content)
    };
    elements.chunks(ELEMENTS_PER_MESSAGE).map(message).collect()
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) comment: String,
    pub(crate) expressions: Vec<Expression>,
}

impl Rule {
    /// What makes the rule this one, wherever it stands.
    pub(super) fn attributes(&self) -> [RuleAttribute; 2] {
        let expressions = RuleAttribute::Expressions(self.expressions.clone());
        [expressions, RuleAttribute::UserData(self.user_data())]
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
pub(crate) enum ChainType {
    Filter,
    Nat,
}

/// How packets come into a chain by themselves. Its policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: ChainType,
    pub(crate) hook: InetHookNumber,
    pub(crate) priority: i32,
}

/// A chain with its rules; without a base, other chains' rules lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

impl Chain {
    /// What makes the chain this one, its rules aside.
    pub(super) fn attributes(&self) -> Vec<ChainAttribute> {
        const NF_ACCEPT: u32 = 1;
        let mut attributes = named_chain(&self.name);
        if let Some(Base { kind, hook, priority }) = self.base {
            let kind = match kind {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
            };
            let priority = Hook::Priority(priority as u32); // as two's complement
            attributes.extend([
                ChainAttribute::Hook(vec![Hook::Number(HookNumber::Inet(hook)), priority]),
                ChainAttribute::Policy(NF_ACCEPT),
                ChainAttribute::Type(kind.into()),
            ]);
        }
        attributes
    }

    /// `nft add chain inet flatnet ...` and `nft add rule ...`
    pub(super) fn add(&self) -> Vec<Message> {
        let chain = NfTablesMessage::NewChain(ChainMessage { attributes: self.attributes() });
        let chain = Message::new(format!("add chain {}", self.name), chain);
        std::iter::once(chain).chain(self.add_rules()).collect()
    }

    /// `nft flush chain inet flatnet ...` and `nft add rule ...`: other chains' rules may lead here
    /// meanwhile.
    pub(super) fn refill(&self) -> Vec<Message> {
        let flush = NfTablesMessage::DeleteRule(RuleMessage { attributes: self.place().into() });
        let flush = Message::new(format!("flush chain {}", self.name), flush);
        std::iter::once(flush).chain(self.add_rules()).collect()
    }

    fn add_rules(&self) -> impl Iterator<Item = Message> {
        self.rules.iter().map(|rule| {
            let attributes = self.place().into_iter().chain(rule.attributes()).collect();
            let content = NfTablesMessage::NewRule(RuleMessage { attributes });
            let Rule { comment, .. } = rule;
            Message::new(format!("add rule \"{comment}\" to chain {}", self.name), content)
        })
    }

    /// Where its rules stand.
    fn place(&self) -> [RuleAttribute; 2] {
        [RuleAttribute::Table(TABLE.into()), RuleAttribute::Chain(self.name.clone())]
    }
}

/// What one network wants of the table on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// The network's VNI, in the name of everything here.
    pub vni: u32,
    /// What the rules look up in.
    pub(crate) sets: Vec<Set>,
    /// Each behind those to which its rules lead.
    pub(crate) chains: Vec<Chain>,
    /// What keeps the network apart from others: there only in company of one that does not keep itself
    /// apart.
    pub(crate) apart: Chain,
}

pub(super) fn named_table() -> TableAttribute {
    TableAttribute::Name(TABLE.into())
}

pub(super) fn named_chain(name: &str) -> Vec<ChainAttribute> {
    vec![ChainAttribute::Table(TABLE.into()), ChainAttribute::Name(name.into())]
}

fn named_set(name: &str) -> Vec<SetAttribute> {
    vec![SetAttribute::Table(TABLE.into()), SetAttribute::Name(name.into())]
}

/// `nft add table inet flatnet`, awake if it was put to sleep.
pub(super) fn add_table() -> Message {
    let attributes = vec![named_table(), TableAttribute::Flags(TableFlags::empty())];
    Message::new("add the table", NfTablesMessage::NewTable(TableMessage { attributes }))
}

/// `nft delete table inet flatnet`
pub(super) fn delete_table() -> Message {
    let content = TableMessage { attributes: vec![named_table()] };
    Message::new("delete the table", NfTablesMessage::DeleteTable(content))
}

/// `nft delete chain inet flatnet NAME`, its rules included.
pub(super) fn delete_chain(name: &str) -> Message {
    let content = ChainMessage { attributes: named_chain(name) };
    Message::new(format!("delete chain {name}"), NfTablesMessage::DeleteChain(content))
}

/// `nft delete set inet flatnet NAME`
pub(super) fn delete_set(name: &str) -> Message {
    let content = SetMessage { attributes: named_set(name) };
    Message::new(format!("delete set {name}"), NfTablesMessage::DeleteSet(content))
}
