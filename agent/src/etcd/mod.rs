//! etcd as the source: one watch, one lease, and few writes.
//!
//! Below `/flatnet/NETWORK/` there are `nodes/NAME` and `blocks/RANGE`, with what the custom resources of a
//! Kubernetes have as their spec. The node that makes a block's key has the range, as a key exists once; which of two
//! is older their create revisions tell, and of two nodes' keys the revisions that wrote them last: whoever writes
//! another address over one has the youngest. The watch runs as a task beside the agent and keeps a few words of
//! each key; the agent is told that something is new, and looks at all of it.
//!
//! The keys of a node hang on one lease (`lease`). When it runs out, because the node is gone for good, or was cut
//! off from etcd for as long as that, etcd deletes them, and other nodes have no way to its pods any more. An agent
//! that comes back then writes where its node is, and claims again what its pods live in. What another has claimed
//! meanwhile is the other's.
//!
//! The messages are written down as types (`wire`), of which few are needed, and gRPC is tonic's: the crate of the
//! whole API makes its own from etcd's files when it is built, and asks for protoc on each machine that builds.

mod access;
pub mod admin;
mod client;
mod codes;
mod deeds;
mod follow;
mod keys;
mod lease;
mod list;
mod outcome;
mod overwriting;
mod refusal;
mod state;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use clap::Args;
use flatnet_conf::matters::Engine;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::source::{Deed, Notice, OwnNode, Refusal, Source, Traffic};
use crate::turns::{FORGETS, Turns};
use crate::watching::forever;

pub use access::Access;
pub use outcome::{Outcome, outcome};

use client::Client;
use deeds::Doer;
use follow::Follower;
use keys::Keys;
use lease::Lease;
use overwriting::Overwriting;
use state::{Objects, Shared};

/// What the agent is told for this engine alone.
#[derive(Args, Clone, Debug)]
pub struct EtcdOptions {
    #[command(flatten)]
    access: Access,
    /// This node's address on the underlay
    #[arg(long, value_name = "ADDR")]
    vtep: IpAddr,
    /// After how many seconds without its agent the node is forgotten
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60, value_parser = clap::value_parser!(i64).range(5..=9_000_000_000))]
    lease_ttl: i64,
}

/// The cluster's keys as etcd tells them.
pub struct Etcd {
    client: Client,
    shared: Arc<Shared>,
    lease: Arc<Lease>,
    keys: Keys,
    node: String,
    vtep: IpAddr,
    overwriting: Overwriting,
    /// They end with this.
    _tasks: JoinSet<()>,
}

impl Etcd {
    /// The source for a node of a network. An etcd that does not answer is no error, but trouble.
    ///
    /// # Errors
    /// An option that is wrong.
    pub async fn connect(network: &str, node: &str, options: &EtcdOptions) -> Result<Self, String> {
        let client = Client::new(options.access.members()?);
        let (shared, keys) = (Arc::<Shared>::default(), Keys::of(network));
        let lease = Lease::new(client.clone(), Arc::clone(&shared), &keys, node, options.lease_ttl);
        let lease = Arc::new(lease);
        let follower = Follower::new(client.clone(), Arc::clone(&shared), keys.clone(), node);
        let mut tasks = JoinSet::new();
        tasks.spawn(forever(follower, Arc::<Turns>::default()));
        tasks.spawn(Arc::clone(&lease).keep());
        let (node, vtep) = (node.to_owned(), options.vtep);
        let overwriting = Overwriting::default();
        Ok(Self { client, shared, lease, keys, node, vtep, overwriting, _tasks: tasks })
    }
}

impl Etcd {
    /// Whether the own key can be written again, if another has overwritten it.
    fn may_overwrite(&mut self) -> Result<(), Refusal> {
        let key = self.keys.node(&self.node);
        let is_there = |all: &Objects| all.own().contains_key(&key);
        let is_there = self.shared.state().objects.as_ref().is_some_and(is_there);
        if is_there && !self.overwriting.may() {
            return Err(Refusal::Failed(format!(
                "another has overwritten {}: is there a second node {}, or who else writes there?",
                String::from_utf8_lossy(&key),
                self.node
            )));
        }
        Ok(())
    }
}

/// What others send here is for this machine, and nothing is said of an address that may be another's.
fn own_address(vtep: IpAddr) -> Result<(), String> {
    let all = getifaddrs().map_err(|e| format!("this machine's addresses cannot be read: {e}"))?;
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    match all.filter_map(|one| ip(one.address?)).any(|address| address == vtep) {
        true => Ok(()),
        false => Err(format!(
            "{vtep} is on no device of this machine: add it, or give another by --vtep"
        )),
    }
}

impl Source for Etcd {
    const ENGINE: Engine = Engine::Etcd;

    async fn changed(&mut self) {
        self.shared.news.notified().await;
    }

    fn cluster(&self) -> Option<Cluster> {
        self.shared.state().cluster()
    }

    fn own(&self) -> Option<OwnNode> {
        Some(OwnNode { addresses: vec![self.vtep], ranges: Vec::new() })
    }

    fn forgets(&self) -> bool {
        self.shared.state().went_back.is_some_and(|at| at.elapsed() < FORGETS)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.state().troubles.text()
    }

    fn traffic(&self) -> Traffic {
        self.client.requests().traffic()
    }

    async fn carry_out(&mut self, deed: &Deed) -> Result<(), Refusal> {
        if let Deed::PutNode { vtep } = deed {
            own_address(*vtep).map_err(Refusal::Failed)?;
            self.may_overwrite()?;
        }
        let Self { client, lease, keys, node, .. } = self;
        Doer { client, lease, keys, node }.carry_out(deed).await?;
        if matches!(deed, Deed::PutNode { .. }) {
            self.overwriting.done();
        }
        Ok(())
    }

    /// Nothing waits for it.
    async fn available(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    /// What is wrong is in the log, in the metrics, and in the file for `flatnet status` and `doctor`.
    async fn tell(&mut self, _: &Notice) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_machine_is_not_told() {
        assert_eq!(own_address(IpAddr::from([127, 0, 0, 1])), Ok(()));
        let wrong = own_address(IpAddr::from([192, 0, 2, 77])).unwrap_err();
        assert!(wrong.starts_with("192.0.2.77 is on no device of this machine: "), "{wrong}");
    }
}
