//! Why packets take no fast path where one is configured.

use std::fmt;

use crate::kernel::Filters;

/// What is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There are IPsec policies. `ip xfrm policy`
    Ipsec,
    /// Another program's queueing discipline of this kind shapes or polices what passes the device.
    Shaped(String),
    /// Another program's filter of this name is in our place.
    Foreign(String),
    /// The kernel does not load the programs: why.
    Refused(String),
}

impl Obstacle {
    /// The words for the kinds there are, in the order of the variants.
    pub const KINDS: [&str; 4] = ["ipsec", "shaped", "foreign", "refused"];

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        let [ipsec, shaped, foreign, refused] = Self::KINDS;
        match self {
            Self::Ipsec => ipsec,
            Self::Shaped(_) => shaped,
            Self::Foreign(_) => foreign,
            Self::Refused(_) => refused,
        }
    }

    /// What of another program keeps our filters away from a device.
    pub fn on_device(filters: &Filters) -> Option<Self> {
        if let Some(kind) = &filters.shaped {
            return Some(Self::Shaped(kind.clone()));
        }
        let foreign = filters.standing.iter().flatten().find(|standing| !standing.is_ours());
        foreign.map(|foreign| Self::Foreign(foreign.name.clone()))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipsec => f.write_str(
                "there are IPsec policies, which packets would pass by (ip xfrm policy)",
            ),
            Self::Shaped(kind) => {
                write!(f, "another program's queueing discipline {kind} is on the device")
            }
            Self::Foreign(name) => {
                write!(f, "another program's filter {name:?} is in flatnet's place on the device")
            }
            Self::Refused(words) => write!(f, "the kernel does not take the programs: {words}"),
        }
    }
}
