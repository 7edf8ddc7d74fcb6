//! What a rule loads out of a packet, and what it means to compare it.

use crate::kernel::foreign_chains::{Asks, Condition, NamePattern};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The names of devices by their indexes.
pub(super) type Names = BTreeMap<u32, String>;

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    InputName,
    OutputName,
    InputIndex,
    OutputIndex,
    InputGroup,
    OutputGroup,
    /// `NFPROTO_*`
    Family,
    /// `ETH_P_*`, in network byte order.
    Protocol,
    /// The source, and whether that is IPv4.
    Source(bool),
    Destination(bool),
    /// `RTN_*`: what it is to this node.
    DestinationType,
    State,
    Status,
    /// What may be so of some packets of any sender.
    Some(String),
    Unknown(String),
}

/// What is in a register.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) field: Field,
    /// Bytes of it, where it is of the packet: prefixes are loaded as such.
    pub(super) width: usize,
    /// The bits that count, if not all do.
    mask: Option<Vec<u8>>,
}

impl From<Field> for Loaded {
    fn from(field: Field) -> Self {
        let width = match field {
            Field::InputName | Field::OutputName => 16,
            Field::Source(false) | Field::Destination(false) => 16,
            _ => 4,
        };
        Self { field, width, mask: None }
    }
}

impl Field {
    /// `enum nft_meta_keys`
    pub(super) fn meta(key: Option<u32>) -> Self {
        match key {
            Some(1) => Self::Protocol,
            Some(4) => Self::InputIndex,
            Some(5) => Self::OutputIndex,
            Some(6) => Self::InputName,
            Some(7) => Self::OutputName,
            Some(15) => Self::Family,
            Some(21) => Self::InputGroup,
            Some(22) => Self::OutputGroup,
            Some(0) => Self::Some("meta length".into()),
            Some(3) => Self::Some("meta mark".into()),
            Some(16) => Self::Some("meta l4proto".into()),
            Some(19) => Self::Some("meta pkttype".into()),
            Some(8) => Self::Some("meta iiftype".into()),
            Some(9) => Self::Some("meta oiftype".into()),
            Some(26) => Self::Unknown("meta iifkind".into()),
            Some(27) => Self::Unknown("meta oifkind".into()),
            key => Self::Unknown(format!("meta (key {})", key.unwrap_or_default())),
        }
    }

    /// `enum nft_ct_keys`
    pub(super) fn ct(key: Option<u32>) -> Self {
        match key {
            Some(0) => Self::State,
            Some(2) => Self::Status,
            Some(3) => Self::Some("ct mark".into()),
            key => Self::Unknown(format!("ct (key {})", key.unwrap_or_default())),
        }
    }

    /// Bytes of the packet, of a family if that is known: `enum nft_payload_bases`.
    pub(super) fn payload(base: Option<u32>, offset: u32, length: u32, ipv4: Option<bool>) -> Self {
        match (base, offset, ipv4, length) {
            (Some(1), 12, Some(true) | None, ..=4) => Self::Source(true),
            (Some(1), 16, Some(true) | None, ..=4) => Self::Destination(true),
            (Some(1), 8, Some(false) | None, ..=16) => Self::Source(false),
            (Some(1), 24, Some(false) | None, ..=16) => Self::Destination(false),
            (Some(1), ..) => Self::Some("ip header".into()),
            (Some(2), ..) => Self::Some("th".into()),
            _ => Self::Some("packet".into()),
        }
    }

    /// Whether it is from one value to another; a prefix of an address stands for all that begin so.
    pub(super) fn asks(&self, from: &[u8], to: &[u8], names: &Names) -> Asks {
        let name = || self.name().to_owned();
        self.known(from, to, names).unwrap_or_else(|| match self {
            Self::Some(_) => Asks::Some(name()),
            _ => Asks::Unknown(name()),
        })
    }

    /// What it is called where a comparison is not understood.
    fn name(&self) -> &str {
        match self {
            Self::InputName | Self::InputIndex | Self::InputGroup => "iif",
            Self::OutputName | Self::OutputIndex | Self::OutputGroup => "oif",
            Self::Family | Self::Protocol => "meta protocol",
            Self::Source(_) => "saddr",
            Self::Destination(_) => "daddr",
            Self::DestinationType => "fib",
            Self::State => "ct state",
            Self::Status => "ct status",
            Self::Some(name) | Self::Unknown(name) => name,
        }
    }

    fn known(&self, from: &[u8], to: &[u8], names: &Names) -> Option<Asks> {
        let exact = || (from == to).then_some(from);
        let number = || Some(u32::from_ne_bytes(exact()?.try_into().ok()?));
        let device = || {
            let index = number()?;
            let name = names.get(&index).cloned();
            Some(NamePattern::Exactly(name.unwrap_or_else(|| format!("(device {index})"))))
        };
        Some(match self {
            Self::InputName => Asks::Input(pattern(from, to)?),
            Self::OutputName => Asks::Output(pattern(from, to)?),
            Self::InputIndex => Asks::Input(device()?),
            Self::OutputIndex => Asks::Output(device()?),
            Self::InputGroup => Asks::InputGroup(number()?),
            Self::OutputGroup => Asks::OutputGroup(number()?),
            Self::Family => Asks::Ipv4(match exact()?.first()? {
                2 => true,
                10 => false,
                _ => return None,
            }),
            Self::Protocol => Asks::Ipv4(match exact()? {
                [0x08, 0x00] => true,
                [0x86, 0xdd] => false,
                _ => return None,
            }),
            Self::Source(ipv4) => Asks::Source(address(from, 0, *ipv4)?, address(to, 0xff, *ipv4)?),
            Self::Destination(ipv4) => {
                Asks::Destination(address(from, 0, *ipv4)?, address(to, 0xff, *ipv4)?)
            }
            // What is forwarded is to no address of this node's, and no broadcast.
            Self::DestinationType => Asks::always(number()? == 1), // RTN_UNICAST
            Self::State => Asks::State(number()?),
            Self::Status | Self::Some(_) | Self::Unknown(_) => return None,
        })
    }
}

impl Loaded {
    /// Notes which bits count; `None` if they are changed in another way.
    pub(super) fn masked(&mut self, mask: Option<Vec<u8>>) {
        match mask {
            Some(mask) if self.mask.is_none() => self.mask = Some(mask),
            _ if matches!(self.field, Field::Some(_)) => {}
            _ => self.field = Field::Unknown("bitwise".into()),
        }
    }

    /// What it asks to be from one key of a set to another.
    pub(super) fn within(&self, from: &[u8], to: &[u8], names: &Names) -> Condition {
        match (&self.mask, &self.field) {
            (None, field) | (_, field @ Field::Some(_)) => field.asks(from, to, names).into(),
            _ => Asks::Unknown("bitwise".into()).into(),
        }
    }

    /// What a comparison asks (`enum nft_cmp_ops`).
    pub(super) fn compared(self, operator: u32, value: &[u8], names: &Names) -> Condition {
        let (zero, ones) = (vec![0; value.len()], vec![0xff; value.len()]);
        let asks = |asks| Condition { not: operator == 1, asks };
        match (operator, &self.mask) {
            (0 | 1, None) => asks(self.field.asks(value, value, names)),
            (0 | 1, Some(mask)) => self.bits(mask, value, operator == 0),
            (3, None) => self.field.asks(&zero, value, names).into(),
            (5, None) => self.field.asks(value, &ones, names).into(),
            _ => match self.field {
                Field::Some(name) => Asks::Some(name).into(),
                _ => Asks::Unknown("cmp".into()).into(),
            },
        }
    }

    /// Whether these bits are, or are not, as in `value`.
    fn bits(&self, mask: &[u8], value: &[u8], equal: bool) -> Condition {
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default();
        let (bits, wanted) = (number(mask), number(value));
        let flags = |asks: fn(u32) -> Asks| match wanted {
            // None of these bits, as in "not one of these states".
            0 => Some(Condition { not: equal, asks: asks(bits) }),
            _ if wanted.is_power_of_two() => Some(Condition { not: !equal, asks: asks(wanted) }),
            _ => None,
        };
        let understood = match &self.field {
            Field::State => flags(Asks::State),
            Field::Status => flags(Asks::Status),
            Field::Source(ipv4) => network(mask, value, *ipv4)
                .map(|network| Condition { not: !equal, asks: Asks::source(network) }),
            Field::Destination(ipv4) => network(mask, value, *ipv4)
                .map(|network| Condition { not: !equal, asks: Asks::destination(network) }),
            Field::Some(name) => Some(Asks::Some(name.clone()).into()),
            _ => None,
        };
        understood.unwrap_or_else(|| Asks::Unknown("bitwise".into()).into())
    }
}

/// A name is compared with its NUL; without, it is only a beginning. In a set a beginning is a range.
fn pattern(from: &[u8], to: &[u8]) -> Option<NamePattern> {
    let length = from.iter().position(|byte| *byte == 0);
    let name = std::str::from_utf8(&from[..length.unwrap_or(from.len())]).ok()?.to_owned();
    let same = from.iter().zip(to).take_while(|(from, to)| from == to).count();
    match length {
        Some(_) if from == to => Some(NamePattern::Exactly(name)),
        None if from == to => Some(NamePattern::Beginning(name)),
        Some(length) if same == length && to[same..].iter().all(|byte| *byte == 0xff) => {
            Some(NamePattern::Beginning(name))
        }
        _ => None,
    }
}

/// The address that begins with these bytes and goes on with others.
fn address(bytes: &[u8], fill: u8, ipv4: bool) -> Option<IpAddr> {
    let mut bytes = bytes.to_vec();
    let size = if ipv4 { 4 } else { 16 };
    if bytes.len() > size {
        return None;
    }
    bytes.resize(size, fill);
    match ipv4 {
        true => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        false => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// The network of a mask of leading ones.
fn network(mask: &[u8], value: &[u8], ipv4: bool) -> Option<IpNetwork> {
    IpNetwork::with_netmask(address(value, 0, ipv4)?, address(mask, 0, ipv4)?).ok()
}
