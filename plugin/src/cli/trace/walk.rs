//! A packet under way: where it is, and what it has passed.

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Holder, Record};

use super::hop::{End, Hop};
use crate::cli::error::CommandError;
use crate::cli::look::Look;
use crate::error::Error;
use crate::firewall::Masquerade;
use crate::kernel::netns::Netns;
use crate::kernel::{Decision, Flow, KernelError, Netlink, Observe as _, Origin};
use crate::overlay::desired::masquerade;

/// A packet of the namespace itself, to which the kernel gives its source.
pub(super) const SENT: Origin = Origin::Sent(Flow { source: None, port: None, vrf: None });
/// What mends an attachment that nothing tells how to mend.
pub(super) const AGAIN: &str = "delete the pod, its runtime makes it again";

/// A network of this node with its attachments.
type Network<'a> = (&'a NetworkConf, Look, Vec<Record>);

/// A packet under way.
pub struct Walk<'a> {
    networks: Vec<Network<'a>>,
    /// Which of the networks it goes by.
    at: usize,
    /// `None` if the pod's network namespace is gone, or not known.
    pub(super) pod: Option<Netlink>,
    pub(super) lease: Record,
    pub(super) source: IpAddr,
    /// Where to; from where its destination is rewritten, where that leads.
    pub(super) to: IpAddr,
    /// The command that puts right what is not as the range file says.
    sync: String,
    pub(super) hops: Vec<Hop>,
}

/// Why a packet is followed no further.
pub enum Stop {
    /// It ends here.
    End(End),
    /// The kernel cannot be asked.
    Failed(Error),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<KernelError> for Stop {
    fn from(error: KernelError) -> Self {
        Self::Failed(error.into())
    }
}

impl<'a> Walk<'a> {
    /// A packet of a pod, whose leases these are, to an address. By which of its interfaces it
    /// goes, the pod's own routes say.
    ///
    /// # Errors
    /// The pod has no address of that family, or the kernel cannot be asked.
    pub fn new(
        networks: Vec<Network<'a>>,
        leases: &[&Record],
        to: IpAddr,
        sync: String,
    ) -> Result<Self, CommandError> {
        let sandbox = leases.iter().find_map(|lease| lease.attachment.sandbox.as_deref());
        let netns = Netns::open(Path::new(sandbox.unwrap_or_default()))?;
        let mut pod = netns.map(Netlink::open_in).transpose()?;
        let chosen = match &mut pod {
            Some(pod) => match pod.decide(to, SENT)? {
                Decision::Send { dev, .. } => pod.link_by_index(dev)?.map(|link| link.dev.name),
                _ => None,
            },
            None => None,
        };
        let family =
            |lease: &&&Record| lease.addresses.iter().any(|ip| ip.is_ipv4() == to.is_ipv4());
        let by_name = |lease: &&&Record| chosen.as_ref() == Some(&lease.attachment.ifname);
        let lease = leases.iter().filter(family).find(by_name).or(leases.iter().find(family));
        let Some(lease) = lease.copied() else {
            return Err(CommandError::Refused(format!(
                "the pod has no address of the family of {to}"
            )));
        };
        let source = lease.addresses.iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
        let at = networks.iter().position(|(.., all)| all.contains(lease)).unwrap_or(0);
        Ok(Self {
            networks,
            at,
            pod,
            lease: lease.clone(),
            source: source.copied().unwrap_or(to),
            to,
            sync,
            hops: Vec::new(),
        })
    }

    pub(super) fn passes(&mut self, at: &'static str, what: impl Into<String>) {
        self.hops.push(Hop { at, what: what.into(), known: true });
    }

    /// It ends at what `flatnet sync` puts right.
    pub(super) fn drifted(&self, at: &'static str, what: impl Into<String>) -> Stop {
        End::stops(at, what, &self.sync).into()
    }

    /// It ends at what is wrong about a pod's attachment: of one without a lease `flatnet sync` knows
    /// too little.
    pub(super) fn spoiled(
        &self,
        holder: &Holder,
        at: &'static str,
        what: impl Into<String>,
    ) -> Stop {
        match holder.sandbox {
            Some(_) => self.drifted(at, what),
            None => End::stops(at, what, AGAIN).into(),
        }
    }

    pub(super) fn look(&mut self) -> &mut Look {
        &mut self.networks[self.at].1
    }

    /// The configuration of the network that it goes by.
    pub(super) fn conf(&self) -> &'a NetworkConf {
        self.networks[self.at].0
    }

    /// Under which address it leaves the cluster.
    pub(super) fn leaves_as(&mut self) -> String {
        let (conf, look, _) = &self.networks[self.at];
        let to_node = look.site.file().nodes.iter().any(|node| node.vtep == self.to);
        match masquerade(conf) {
            Masquerade::On => "under the node's address (ipMasq)".into(),
            Masquerade::SparesNodes if !to_node => "under the node's address (ipMasq)".into(),
            Masquerade::SparesNodes => {
                format!("with its own address {} (ipMasqNodes is off)", self.source)
            }
            Masquerade::Off => format!(
                "with its own address {} (ipMasq is off): answers need a route to this node there",
                self.source
            ),
        }
    }

    pub(super) fn to(&self) -> IpAddr {
        self.to
    }

    /// The lease of a pod of this node that has the destination, whatever network it is of.
    pub(super) fn neighbour_pod(&self) -> Option<Record> {
        let mut leases = self.networks.iter().flat_map(|(.., leases)| leases);
        leases.find(|lease| lease.addresses.contains(&self.to)).cloned()
    }
}
