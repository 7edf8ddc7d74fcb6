//! Packet filters that drop what is forwarded unless a rule says otherwise: in our nouns, whichever
//! program keeps them.

use ipnetwork::IpNetwork;

/// A base chain of hook forward whose policy is drop.
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
    /// Those of its rules that accept and that we understand, in order.
    pub accepts: Vec<Accept>,
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

/// What a rule that accepts asks of a packet; `None` asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Name of the device it comes by.
    pub input: Option<NamePattern>,
    /// Name of the device it leaves by.
    pub output: Option<NamePattern>,
    /// `IFLA_GROUP` of the device it comes by.
    pub input_group: Option<u32>,
    /// `IFLA_GROUP` of the device it leaves by.
    pub output_group: Option<u32>,
    /// Network of its source.
    pub source: Option<IpNetwork>,
    /// Network of its destination.
    pub destination: Option<IpNetwork>,
}

/// A device's name, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exactly(String),
    /// Every name that begins so: `veth+` in iptables, `veth*` in nft.
    Beginning(String),
}

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
