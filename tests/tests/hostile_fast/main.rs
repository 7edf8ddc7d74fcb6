//! The hostile pods and outsiders of `hostile`, where the flows that they pretend to be of are on the fast path.

use flatnet_tests::fast_path::Reach;

#[path = "../hostile/answers.rs"]
mod answers;
#[path = "../hostile/container.rs"]
mod container;
#[path = "../hostile/discovery.rs"]
mod discovery;
#[path = "../hostile/gateway.rs"]
mod gateway;
#[path = "../hostile/local.rs"]
mod local;
#[path = "../hostile/networks.rs"]
mod networks;
#[path = "../hostile/pieces.rs"]
mod pieces;
#[path = "../hostile/router.rs"]
mod router;
#[path = "../hostile/scene.rs"]
mod scene;
#[path = "../hostile/source.rs"]
mod source;
#[path = "../hostile/tally.rs"]
mod tally;
#[path = "../hostile/translated.rs"]
mod translated;
#[path = "../hostile/underlay.rs"]
mod underlay;
#[path = "../hostile/vxlan.rs"]
mod vxlan;
#[path = "../hostile/warm.rs"]
mod warm;

/// Whether, and where, the flows that forged packets pretend to be of take the fast path.
const REACH: Reach = Reach::Own;
