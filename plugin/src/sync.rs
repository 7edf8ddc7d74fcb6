//! `flatnet sync`: what stands in the kernel for one network on this node becomes what should stand,
//! with the difference only.
//!
//! ADD does the same for the overlay when the range file has changed or the overlay is not whole at
//! a glance. This looks at everything, at the attachments of living pods too.

use std::fmt;
use std::path::Path;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Attachment as Holder, Key, Leases, Record as Lease};

use crate::attachment::{self, Attachment};
use crate::error::Error;
use crate::identity::{VethIdentity, veth, veth_group};
use crate::kernel::netns::Netns;
use crate::kernel::{Change, Journal, Kernel, Link, Listener, Mode, Netlink, Record};
use crate::overlay::Site;
use crate::side::Side;
use crate::stamp::Stamp;
use crate::unleased;

/// What was different, by place.
#[derive(Debug)]
pub struct Report {
    /// The node's name in the range file.
    pub node: String,
    /// What was changed on the node, or would be.
    pub changes: Record,
    /// What was changed in pods, or would be.
    pub pods: Vec<InPod>,
    /// Attachments that were not looked at: another IPAM plugin gave their addresses, and nothing on
    /// disk says where their namespaces are.
    pub unleased: usize,
    /// What could not be looked at or changed, although the rest was.
    pub problems: Vec<String>,
}

/// The changes in one pod.
#[derive(Debug)]
pub struct InPod {
    /// Whose interface it is.
    pub holder: Holder,
    /// What was changed in its namespace.
    pub changes: Record,
}

/// The pod and its namespace, for messages.
impl fmt::Display for InPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.holder, self.holder.sandbox.as_deref().unwrap_or_default())
    }
}

impl Report {
    /// How many changes.
    pub fn count(&self) -> usize {
        self.changes.count() + self.pods.iter().map(|pod| pod.changes.count()).sum::<usize>()
    }
}

/// Compares one network with its range file, and applies the difference or only tells it. The
/// listener hears how far that is, if there is much to do.
///
/// # Errors
/// Those of [`crate::overlay::ensure`]. A pod that fails does not keep the others from being
/// looked at: see [`Report::problems`].
pub fn run(conf: &NetworkConf, mode: Mode, listener: &mut Listener) -> Result<Report, Error> {
    let mut node = Netlink::open()?;
    let site = Site::find(&mut node, conf)?;
    run_at(&site, &mut node, conf, mode, listener)
}

/// The same for a node that has been found already.
///
/// # Errors
/// As [`run`].
pub fn run_at(
    site: &Site,
    node: &mut Netlink,
    conf: &NetworkConf,
    mode: Mode,
    listener: &mut Listener,
) -> Result<Report, Error> {
    let own = node.netns().inode()?;
    let ways = site.survey(node, conf)?;
    let before = Stamp::find(conf, own);
    let applies = mode == Mode::Apply;
    let _lock = if applies { Some(site.lock(conf)?) } else { None };
    if let Some(before) = before.as_ref().filter(|_| applies) {
        before.outdate(conf)?;
    }
    let mut journal = Journal::new(node, mode).heard_by(listener);
    let standing = site.establish(&mut journal, conf, &ways, before.as_ref())?;
    let mut network = Network {
        conf,
        group: veth_group(site.vni()),
        mtu: standing.mtu,
        mode,
        own,
        pods: Vec::new(),
        unleased: 0,
        problems: Vec::new(),
    };
    network.sync_pods(&mut journal, &site.node.name)?;
    let changes = journal.changes();
    let stamp = site.stamp(conf, own, &standing);
    if applies {
        stamp.write(conf)?;
    }
    let Network { pods, unleased, problems, .. } = network;
    Ok(Report { node: site.node.name.clone(), changes, pods, unleased, problems })
}

/// The attachments of one network on this node.
struct Network<'a> {
    conf: &'a NetworkConf,
    group: u32,
    mtu: u32,
    mode: Mode,
    own: u64,
    pods: Vec<InPod>,
    unleased: usize,
    problems: Vec<String>,
}

impl Network<'_> {
    /// Attachments are known by their leases; those whose addresses come from another IPAM plugin are
    /// only counted.
    fn sync_pods(&mut self, node: &mut dyn Kernel, name: &str) -> Result<(), Error> {
        let conf = self.conf;
        if conf.ipam.is_some() {
            let ends = unleased::node_ends(node, &conf.name)?;
            let leases = Leases::existing(&conf.state_dir, &conf.name, name)?;
            let leases = leases.map(|leases| leases.list()).transpose()?.unwrap_or_default().leases;
            self.unleased = unleased::attachments(node, &conf.name, ends, &leases)?.len();
        }
        let Some(leases) = Leases::existing(&conf.state_dir, &conf.name, name)? else {
            return Ok(());
        };
        let broken = leases.visit(&mut |lease| {
            let holder = &lease.attachment;
            if holder.netns != self.own || holder.is_delegated() {
                return;
            }
            if let Err(e) = self.sync_pod(node, lease) {
                // DEL removes the veth before it asks for the lease.
                if !matches!(node.link(&holder.veth), Ok(None)) {
                    self.problems.push(format!("{holder}: {e}"));
                }
            }
        })?;
        self.problems.extend(broken.iter().map(ToString::to_string));
        Ok(())
    }

    fn sync_pod(&mut self, node: &mut dyn Kernel, lease: &Lease) -> Result<(), Error> {
        let holder = &lease.attachment;
        let key = Key::new(&self.conf.name, &holder.container_id, &holder.ifname);
        // What is not there is for the next ADD, DEL or GC to clear away.
        let Some(on_node) = Side::look(node, &holder.veth)? else { return Ok(()) };
        let sandbox = holder.sandbox.as_deref().unwrap_or_default();
        let Some(netns) = Netns::open(Path::new(sandbox))? else { return Ok(()) };
        let mut pod = Netlink::open_in(netns)?;
        let Some(in_pod) = Side::look(&mut pod, &holder.ifname)? else { return Ok(()) };
        if in_pod.link.peer != Some(on_node.link.dev.index) {
            // The runtime has put another pod's namespace in its place.
            return Ok(());
        }
        let made = veth(&key);
        let attachment = Attachment {
            // The runtime may have asked for another MAC, or a later plugin have set one.
            veth: VethIdentity { pod_mac: in_pod.link.mac.unwrap_or(made.pod_mac), ..made },
            group: self.group,
            alias: attachment::alias(&self.conf.name, holder),
            ifname: &holder.ifname,
            netns: sandbox.to_owned(),
            mtu: self.mtu,
            addresses: lease.addresses.clone(),
            routes: attachment::routes(self.conf.routes.as_deref(), &lease.addresses),
        };

        // The pod's end first: where its MTU is not the node end's, a plugin later in the chain
        // has made it so, and this must still show if we are killed in between.
        let mut journal = Journal::new(&mut pod, self.mode);
        let mut changes = mtu_of_pod(&in_pod.link, &on_node.link, self.mtu);
        changes.extend(attachment::pod_changes(&attachment, in_pod.link.dev.index));
        attachment::guard_pod(&mut journal, &attachment)?;
        let outcome = journal.apply(&in_pod.link.dev, &in_pod.lacks(changes));
        let changes = journal.changes();
        if changes.count() > 0 {
            self.pods.push(InPod { holder: holder.clone(), changes });
        }
        outcome?;
        attachment::guard_node(node, &on_node.link.dev)?;
        Ok(node.apply(&on_node.link.dev, &on_node.lacks(attachment::node_end(&attachment)))?)
    }
}

/// The pod's MTU follows the overlay's, unless a plugin later in the chain has set a smaller one.
fn mtu_of_pod(in_pod: &Link, on_node: &Link, overlay: u32) -> Vec<Change> {
    let as_made = in_pod.mtu == on_node.mtu;
    if as_made || in_pod.mtu > overlay { vec![Change::Mtu(overlay)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    fn link(mtu: u32) -> Link {
        let mut fake = Fake::default();
        fake.add("v", mtu, &[], LinkKind::Veth);
        fake.links["v"].link.clone()
    }

    #[test]
    fn the_pods_mtu_follows_unless_it_was_made_smaller() {
        let table = [
            // (in the pod, on the node, overlay now, set)
            (1450, 1450, 1400, true),
            (1450, 1450, 8950, true),
            (1300, 1450, 1400, false),
            (1300, 1450, 1280, true),
            (1400, 1450, 1400, false),
        ];
        for (pod, node, overlay, set) in table {
            let expected = if set { vec![Change::Mtu(overlay)] } else { vec![] };
            assert_eq!(mtu_of_pod(&link(pod), &link(node), overlay), expected, "{pod} {node}");
        }
    }
}
