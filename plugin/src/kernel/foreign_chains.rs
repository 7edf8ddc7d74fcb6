//! Packet filters that other programs put in the way of what is forwarded: in our nouns, whichever
//! program keeps them.

use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// A base chain of hook forward, with all that its rules lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardChain {
    /// Who keeps it.
    pub keeper: Keeper,
    /// Which packets it sees.
    pub family: ChainFamily,
    /// Its table, as in `filter`.
    pub table: String,
    /// Its name, as in `FORWARD`.
    pub name: String,
    /// Whether what comes to its end is dropped. `policy drop`
    pub drops: bool,
    /// The rules of the chains that a packet may come through, in order; its own are under its name.
    pub rules: BTreeMap<String, Vec<Rule>>,
}

/// Where a chain is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// nf_tables: `nft`, or `iptables-nft`.
    Nft,
    /// The older x_tables: `iptables-legacy`.
    Legacy,
}

/// Which packets a chain sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainFamily {
    /// IPv4 only; nft's `ip`.
    V4,
    /// IPv6 only; nft's `ip6`.
    V6,
    /// Both; nft's `inet`.
    Both,
}

/// One rule: what becomes of a packet of which all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in its chain, from 1 on; where a map decides, each of its elements has that.
    pub number: usize,
    /// What it asks of a packet.
    pub conditions: Vec<Condition>,
    /// What it does with it.
    pub end: End,
}

/// A question, and whether the answer is turned round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it must not be so.
    pub not: bool,
    /// What is asked.
    pub asks: Asks,
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The name of the device it comes by.
    Input(NamePattern),
    /// The name of the device it leaves by.
    Output(NamePattern),
    /// `IFLA_GROUP` of the device it comes by.
    InputGroup(u32),
    /// `IFLA_GROUP` of the device it leaves by.
    OutputGroup(u32),
    /// The first and the last address that its source may be.
    Source(IpAddr, IpAddr),
    /// The same of its destination.
    Destination(IpAddr, IpAddr),
    /// Whether it is IPv4; otherwise IPv6.
    Ipv4(bool),
    /// One of these states of its connection (`NF_CT_STATE_BIT`).
    State(u32),
    /// One of these marks of its connection (`IPS_*`).
    Status(u32),
    /// All of one of these, as a set asks.
    OneOf(Vec<Vec<Condition>>),
    /// What is so of some packets of any sender: a port, a rate, a mark.
    Some(String),
    /// What is not understood: its name.
    Unknown(String),
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It leaves the base chain.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject,
    /// Through another chain, and on behind this rule.
    Jump(String),
    /// Through another chain, and on behind the rule that led here.
    Goto(String),
    /// On behind the rule that led here.
    Return,
    /// On behind this rule.
    Continue,
    /// What is not understood, and may be any of these: its name.
    Unknown(String),
}

/// A device's name, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exactly(String),
    /// Every name that begins so: `veth+` in iptables, `veth*` in nft.
    Beginning(String),
}

/// The states of a connection, by `NF_CT_STATE_BIT`.
const STATES: [(u32, &str); 5] =
    [(1, "invalid"), (2, "established"), (4, "related"), (STATE_NEW, "new"), (64, "untracked")];

/// The state of a connection that nothing has answered yet: `NF_CT_STATE_BIT(IP_CT_NEW)`.
pub const STATE_NEW: u32 = 8;

impl ChainFamily {
    /// Whether packets of a family come to the chain.
    pub fn sees(self, ipv4: bool) -> bool {
        match self {
            ChainFamily::V4 => ipv4,
            ChainFamily::V6 => !ipv4,
            ChainFamily::Both => true,
        }
    }
}

impl End {
    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&str> {
        match self {
            End::Jump(chain) | End::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

impl Asks {
    /// What is so of every packet, or of none.
    pub fn always(yes: bool) -> Self {
        Self::OneOf(if yes { vec![Vec::new()] } else { Vec::new() })
    }

    /// The source is in a network.
    pub fn source(network: IpNetwork) -> Self {
        Self::Source(network.network(), network.broadcast())
    }

    /// The destination is in a network.
    pub fn destination(network: IpNetwork) -> Self {
        Self::Destination(network.network(), network.broadcast())
    }
}

impl From<Asks> for Condition {
    fn from(asks: Asks) -> Self {
        Self { not: false, asks }
    }
}

/// Close to what `nft` prints.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.conditions.iter().try_for_each(|condition| write!(f, "{condition} "))?;
        match &self.end {
            End::Accept => f.write_str("accept"),
            End::Drop => f.write_str("drop"),
            End::Reject => f.write_str("reject"),
            End::Jump(chain) => write!(f, "jump {chain}"),
            End::Goto(chain) => write!(f, "goto {chain}"),
            End::Return => f.write_str("return"),
            End::Continue => f.write_str("continue"),
            End::Unknown(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "!= " } else { "" };
        let range = |from: &IpAddr, to: &IpAddr| match from == to {
            true => from.to_string(),
            false => format!("{from}-{to}"),
        };
        let family = |ip: &IpAddr| if ip.is_ipv4() { "ip" } else { "ip6" };
        match &self.asks {
            Asks::Input(name) => write!(f, "iifname {not}{name}"),
            Asks::Output(name) => write!(f, "oifname {not}{name}"),
            Asks::InputGroup(group) => write!(f, "iifgroup {not}{group:#x}"),
            Asks::OutputGroup(group) => write!(f, "oifgroup {not}{group:#x}"),
            Asks::Source(from, to) => write!(f, "{} saddr {not}{}", family(from), range(from, to)),
            Asks::Destination(from, to) => {
                write!(f, "{} daddr {not}{}", family(from), range(from, to))
            }
            Asks::Ipv4(ipv4) => write!(f, "meta nfproto {not}ipv{}", if *ipv4 { 4 } else { 6 }),
            Asks::State(bits) => {
                let named = STATES.iter().filter(|(bit, _)| bits & bit != 0);
                let names: Vec<&str> = named.map(|(_, name)| *name).collect();
                write!(f, "ct state {not}{}", names.join(","))
            }
            Asks::Status(bits) => write!(f, "ct status {not}{bits:#x}"),
            Asks::OneOf(all) => {
                let (open, close) = if self.not { ("not (", ")") } else { ("", "") };
                let first = all.first().map_or(&[][..], |first| first);
                let words: Vec<String> = first.iter().map(Self::to_string).collect();
                let more = if all.len() > 1 { " or …" } else { "" };
                write!(f, "{open}{}{more}{close}", words.join(" "))
            }
            Asks::Some(name) | Asks::Unknown(name) => write!(f, "{name} {not}…"),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => write!(f, "{name:?}"),
            Self::Beginning(name) => write!(f, "\"{name}*\""),
        }
    }
}
