//! What keeps the networks of a node apart.

use super::matches::{NETWORK, group};
use super::{Policy, raw};
use crate::kernel::nft::expression::{MetaKey, Operator};
use crate::kernel::nft::names::Names;
use crate::kernel::nft::objects::{Chain, InetHookNumber, Rule};

impl Policy {
    /// What keeps the network apart from others.
    pub(super) fn apart(&self, names: &Names) -> Chain {
        raw(&names.forward, InetHookNumber::Forward, self.forward())
    }

    fn forward(&self) -> Vec<Rule> {
        const OURS: u32 = 0xfe00_0000;
        const VNI: u32 = 0x00ff_ffff;
        [
            ("to another network", MetaKey::Iifgroup, MetaKey::Oifgroup),
            ("from another network", MetaKey::Oifgroup, MetaKey::Iifgroup),
        ]
        .map(|(why, ours, theirs)| {
            self.drop(
                why,
                [
                    group(ours, NETWORK, Operator::Equal, self.group),
                    group(theirs, OURS, Operator::Equal, self.group & OURS),
                    group(theirs, VNI, Operator::NotEqual, self.group & VNI),
                ],
            )
        })
        .into()
    }
}
