//! The fast path is safe: whatever is true of flows that pass the network stack is true of flows that were learned.
//! Each test sees by the counters that its flows took the fast path before.

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
