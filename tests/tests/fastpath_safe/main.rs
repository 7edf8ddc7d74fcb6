//! The fast path is safe: whatever is true of flows that pass the network stack is true of flows that were learned.
//! Each test sees by the counters that its flows took the fast path before.

use flatnet_tests::fast_path::Reach;

mod crowd;
mod firewalld;
mod forged;
mod networks;
mod packets;
mod rules;
mod scene;
mod succession;
mod switched;
mod tracked;
mod translated;

/// Where packets take it.
const REACH: Reach = Reach::Own;
