//! Hostile pods and hostile outsiders: frames that no pod or host may send, sent from raw
//! sockets, and who got them. Every test also sends the honest kind of what it forges, which must arrive; what is
//! dropped was not dropped for being ill-formed.
//!
//! Every test prints how many packets it tried and how many got through, as
//! `cargo test --test hostile -- --nocapture` shows.

use flatnet_tests::fast_path::Reach;

mod answers;
mod container;
mod discovery;
mod gateway;
mod local;
mod networks;
mod pieces;
mod queue;
mod router;
mod scene;
mod source;
mod tally;
mod translated;
mod underlay;
mod unsummed;
mod vxlan;
mod warm;

/// Whether, and where, the flows that forged packets pretend to be of take the fast path.
const REACH: Reach = Reach::None;
