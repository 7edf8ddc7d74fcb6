//! Where the cluster's objects are: an engine that exists, Kubernetes' API server or etcd.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flatnet_conf::matters::Engine;
use ipnetwork::IpNetwork;

use crate::cluster::Cluster;

/// What the engine says of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNode {
    /// Its addresses on the underlay, in the order in which they are taken; none as long as they are unknown.
    pub addresses: Vec<IpAddr>,
    /// The ranges that it was given (a Kubernetes Node's `podCIDRs`); where there are none it claims blocks.
    pub ranges: Vec<IpNetwork>,
}

/// A change of this node's own objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The node's entry is made, or says another address.
    PutNode {
        /// Its address on the underlay.
        vtep: IpAddr,
    },
    /// A block is claimed. Of one that the node holds already, new pods may have addresses again.
    Claim(IpNetwork),
    /// A block is claimed that the node has had: also where somebody has put in its place what names no holder.
    Reclaim(IpNetwork),
    /// A block that the node holds is kept for those that live in it alone.
    Retire(IpNetwork),
    /// A block is given back.
    Release(IpNetwork),
}

/// Why a deed was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Another node has the block.
    #[error("{range} is held by {holder}")]
    Taken {
        /// The block.
        range: IpNetwork,
        /// Who holds it.
        holder: String,
    },
    /// The engine refused, or could not be asked; it is tried again, ever less often.
    #[error("{0}")]
    Failed(String),
}

/// Something that an operator must see, told where he looks: in Kubernetes an Event on the Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A CamelCase word for filters: `EntryRejected`.
    pub reason: &'static str,
    /// The whole sentence.
    pub message: String,
    /// Whether something is wrong.
    pub warning: bool,
}

/// What an engine was asked since the agent began, and what it answered. Kinds are few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many requests of each kind got each code; 0 is the code where there was no answer.
    pub answered: BTreeMap<(&'static str, u16), u64>,
    /// The bytes of all answers.
    pub received_bytes: u64,
}

/// An engine. All of it goes on in one task: nothing here blocks.
#[expect(
    async_fn_in_trait,
    reason = "no future of it has to be Send, as it never leaves that task"
)]
pub trait Source {
    /// Which it is, for the plugin's tools.
    const ENGINE: Engine;

    /// Returns when there may be something new: an object, this node, or whether the engine answers. That
    /// which came before the first call counts. A call may be given up before it returns, and then the next
    /// tells of what it would have told.
    async fn changed(&mut self);

    /// All objects as they were last heard of; `None` until they were read once.
    fn cluster(&self) -> Option<Cluster>;

    /// This node; `None` until it was read once, or while there is none of its name.
    fn own(&self) -> Option<OwnNode>;

    /// Whether a node may be given its ranges later than it comes: one that has none waits a while before it claims.
    fn gives_ranges(&self) -> bool {
        false
    }

    /// Whether the engine was put back to an older copy just now: what it has forgotten nodes will bring back.
    fn forgets(&self) -> bool {
        false
    }

    /// Why the engine does not answer, if it does not.
    fn trouble(&self) -> Option<String>;

    /// What it was asked so far.
    fn traffic(&self) -> Traffic;

    /// Changes an own object.
    async fn carry_out(&mut self, deed: &Deed) -> Result<(), Refusal>;

    /// The node's network stands: what waits for it may go on (`NetworkUnavailable=False`). It is called after
    /// each change; a source that has said so already asks nothing.
    async fn available(&mut self) -> Result<(), Refusal>;

    /// Tells an operator, as well as it can.
    async fn tell(&mut self, notice: &Notice);
}
