//! What `fastpath_safe` holds is as true where packets take the fast path at the uplink already, and there is more that must be.

use flatnet_tests::fast_path::Reach;

mod entrance;
mod forwarded;
mod outer;
#[path = "../fastpath_safe/packets.rs"]
mod packets;
#[path = "../fastpath_safe/rules.rs"]
mod rules;
#[path = "../fastpath_safe/scene.rs"]
mod scene;
#[path = "../fastpath_safe/succession.rs"]
mod succession;
#[path = "../fastpath_safe/switched.rs"]
mod switched;
#[path = "../fastpath_safe/tracked.rs"]
mod tracked;
#[path = "../fastpath_safe/translated.rs"]
mod translated;

/// Where packets take it.
const REACH: Reach = Reach::Uplink;
