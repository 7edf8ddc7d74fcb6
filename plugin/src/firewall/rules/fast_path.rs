//! What tells the fast path that every filter has let a packet through.

use super::Policy;
use super::matches::{NETWORK, group};
use crate::kernel::nft::expression::{
    MetaKey, Operator, Tracked, compare, mask, set_bits, tracked,
};
use crate::kernel::nft::objects::Rule;

/// `PASSED` of `plugin/bpf/maps.h`.
const PASSED: u32 = 1 << 31;

impl Policy {
    /// Between two pods, of a connection with answers that nothing translates or reads.
    pub(super) fn passed(&self) -> Rule {
        const ESTABLISHED: u32 = 1 << 1;
        /// `IPS_SRC_NAT`, `IPS_DST_NAT`, `IPS_SEQ_ADJUST`, `IPS_HELPER`
        const CHANGED: u32 = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 13;
        let state = vec![
            tracked(Tracked::State),
            mask(&ESTABLISHED.to_ne_bytes()),
            compare(Operator::NotEqual, &[0; 4]),
        ];
        let status = vec![
            tracked(Tracked::Status),
            mask(&CHANGED.to_ne_bytes()),
            compare(Operator::Equal, &[0; 4]),
        ];
        self.rule(
            "passed all filters",
            [
                group(MetaKey::Iifgroup, NETWORK, Operator::Equal, self.group),
                group(MetaKey::Oifgroup, NETWORK, Operator::Equal, self.group),
                state,
                status,
                set_bits(MetaKey::Priority, PASSED).into(),
            ],
        )
    }
}
