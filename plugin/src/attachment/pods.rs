//! The attachments of one network's pods on this node: what stands of each becomes what its ADD made.
//!
//! Each is looked at by itself, and its namespace is entered once, so that a thousand of them cost a
//! thousand times one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Holder, Leases, Record as Lease};

use crate::attachment::books::{Books, Kept};
use crate::attachment::dockers::{is_dockers, name_in_pod};
use crate::attachment::ends::{self, Attachment};
use crate::attachment::finished::is_finished;
use crate::attachment::guards::Guards;
use crate::attachment::side::Side;
use crate::attachment::unleased;
use crate::error::Error;
use crate::identity::{VethIdentity, key, veth, veth_group, veth_name};
use crate::kernel::netns::Netns;
use crate::kernel::{Change, Changes, FastPath, Journal, Kernel, Link, Mode, Netlink, Observe};
use crate::overlay::fast_path;
use crate::overlay::gateway::gateways;
use crate::overlay::site::{Site, Standing};

/// The changes in one pod.
#[derive(Debug)]
pub struct InPod {
    /// Whose interface it is.
    pub holder: Holder,
    /// What was changed in its namespace.
    pub changes: Changes,
}

/// The pod and its namespace, for messages.
impl fmt::Display for InPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.holder, self.holder.sandbox.as_deref().unwrap_or_default())
    }
}

/// What came of looking at attachments.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was changed in pods, or would be.
    pub pods: Vec<InPod>,
    /// See [`crate::upkeep::sync::SyncReport::unleased`].
    pub unleased: usize,
    /// What the books lacked.
    pub books: Kept,
    /// What could not be looked at or changed, although the rest was.
    pub problems: Vec<String>,
}

/// The attachments of one network on this node.
pub struct Pods<'a> {
    conf: &'a NetworkConf,
    node: &'a str,
    vni: u32,
    group: u32,
    mtu: u32,
    programs: Option<[u32; 2]>,
    own: u64,
    mode: Mode,
}

impl<'a> Pods<'a> {
    /// Those of a node: `standing` is its overlay, `own` the inode of the node's network namespace.
    /// `mode` tells whether changes are made.
    pub fn of(
        site: &'a Site,
        conf: &'a NetworkConf,
        standing: &Standing,
        own: u64,
        mode: Mode,
    ) -> Self {
        let (vni, node) = (site.vni(), &site.node.name);
        let Standing { mtu, programs, .. } = *standing;
        Self { conf, node, vni, group: veth_group(vni), mtu, programs, own, mode }
    }

    /// Looks at all of them. They are known by their leases; those whose addresses come from another
    /// IPAM plugin are only counted.
    ///
    /// # Errors
    /// The state folder cannot be read, or the kernel cannot be asked. A pod that fails does not keep
    /// the others from being looked at.
    pub fn look(&self, node: &mut dyn Kernel) -> Result<Looked, Error> {
        let Self { conf, node: name, own, mode, .. } = *self;
        let mut books = Books { conf, node: name, own, mode }.keep(node.observing())?;
        let filtered = node.clsacts()?;
        let mut looked = self.look_through(node, &|_| true, &filtered)?;
        looked.problems.append(&mut books.problems);
        looked.books = books;
        looked.unleased = self.unleased(node.observing())?;
        Ok(looked)
    }

    /// Looks at those whose ends on the node bear a name that is wanted, and not for filters on ends that should have none:
    /// those are of another configuration, with which all are looked at.
    ///
    /// # Errors
    /// As [`Pods::look`].
    pub fn look_at(
        &self,
        node: &mut dyn Kernel,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Looked, Error> {
        self.look_through(node, wanted, &BTreeSet::new())
    }

    /// `filtered` are the indices of devices from which filters may have to be taken away.
    fn look_through(
        &self,
        node: &mut dyn Kernel,
        wanted: &dyn Fn(&str) -> bool,
        filtered: &BTreeSet<u32>,
    ) -> Result<Looked, Error> {
        let Self { conf, .. } = self;
        let mut looked = Looked::default();
        let fast_path = fast_path::of(node.observing(), conf, self.vni, self.programs);
        // Under whatever name the node had when they were made.
        for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
            let leases = leases?;
            let broken = leases.visit(&|key| wanted(&veth_name(key)), &mut |lease| {
                let holder = &lease.attachment;
                if holder.netns != self.own || holder.is_delegated() {
                    return;
                }
                let path = fast_path.as_ref().filter(|_| !holder.is_shaped);
                if let Err(e) = self.sync(node, lease, (path, filtered), &mut looked.pods) {
                    // DEL removes the veth before it asks for the lease.
                    if !matches!(node.link(&holder.veth), Ok(None)) {
                        looked.problems.push(format!("{holder}: {e}"));
                    }
                }
            })?;
            // Of another node's folder, as namespaces of one machine have them, that node tells.
            if leases.node() == self.node {
                looked.problems.extend(broken.iter().map(ToString::to_string));
            }
        }
        Ok(looked)
    }

    fn unleased(&self, node: &mut dyn Observe) -> Result<usize, Error> {
        let conf = self.conf;
        if conf.ipam.is_none() {
            return Ok(0);
        }
        let ends = unleased::node_ends(node, &conf.name)?;
        let leases = self.leases()?.map(|leases| leases.list()).transpose()?;
        let leases = leases.unwrap_or_default().leases;
        Ok(unleased::attachments(node, &conf.name, ends, &leases)?.len())
    }

    fn leases(&self) -> Result<Option<Leases>, Error> {
        Ok(Leases::existing(&self.conf.state_dir, &self.conf.name, self.node)?)
    }

    fn sync(
        &self,
        node: &mut dyn Kernel,
        lease: &Lease,
        (fast_path, filtered): (Option<&FastPath>, &BTreeSet<u32>),
        changed: &mut Vec<InPod>,
    ) -> Result<(), Error> {
        let holder = &lease.attachment;
        // What is not there is for the next ADD, DEL or GC to clear away.
        let on_node = Side::look_on_node(node.observing(), &holder.veth, &lease.addresses)?;
        let Some(on_node) = on_node else { return Ok(()) };
        if !is_finished(&on_node.link) {
            return Ok(());
        }
        let sandbox = holder.sandbox.as_deref().unwrap_or_default();
        let Some(netns) = Netns::open(Path::new(sandbox))? else { return Ok(()) };
        let mut pod = Netlink::open_in(netns)?;
        let gateways = gateways(&lease.addresses);
        let Some(ifname) = name_in_pod(&mut pod, holder, &on_node.link)? else { return Ok(()) };
        let Some(in_pod) = Side::look_in_pod(&mut pod, &ifname, &gateways)? else {
            return Ok(());
        };
        if in_pod.link.peer != Some(on_node.link.dev.index) {
            // The runtime has put another pod's namespace in its place.
            return Ok(());
        }
        let attachment = self.attachment(lease, &in_pod, &on_node);

        // The pod's end first: where its MTU is not the node end's, a plugin later in the chain
        // has made it so, and this must still show if we are killed in between.
        let mut journal = Journal::new(&mut pod, self.mode);
        let mut changes = mtu_of_pod(&in_pod.link, &on_node.link, self.mtu);
        changes.extend(ends::pod_changes(&attachment, in_pod.link.dev.index));
        let guards = Guards::of_pod(&lease.addresses);
        if !guards.stand(&in_pod.settings) {
            guards.set(&mut journal, &ifname)?;
        }
        let outcome = journal.apply(&in_pod.link.dev, &in_pod.lacks(changes));
        let changes = journal.changes();
        if changes.count() > 0 {
            changed.push(InPod { holder: holder.clone(), changes });
        }
        outcome?;
        let guards = Guards::of_node(&lease.addresses);
        if !guards.stand(&on_node.settings) {
            guards.set(node, &on_node.link.dev.name)?;
        }
        let dev = &on_node.link.dev;
        node.apply(dev, &on_node.lacks(ends::node_end(&attachment)))?;
        if fast_path.is_none() && !filtered.contains(&dev.index) {
            return Ok(());
        }
        let filters = node.filters(dev.index)?;
        match fast_path {
            Some(_) => node.apply(dev, &fast_path::changes(&filters, fast_path))?,
            None => fast_path::detach_from(node, dev, &filters)?,
        }
        Ok(())
    }

    /// What an attachment is to be, by its lease.
    fn attachment<'b>(&self, lease: &'b Lease, in_pod: &Side, on_node: &Side) -> Attachment<'b> {
        let holder = &lease.attachment;
        let key = key(&self.conf.name, holder);
        let mut made = veth(&key);
        if key.is_head() {
            // Only the whole key tells which it was made with.
            made.node_mac = on_node.link.mac.unwrap_or(made.node_mac);
        }
        Attachment {
            // The runtime may have asked for another MAC, or a later plugin have set one.
            veth: VethIdentity { pod_mac: in_pod.link.mac.unwrap_or(made.pod_mac), ..made },
            group: self.group,
            alias: ends::alias(&self.conf.name, holder),
            ifname: &holder.ifname,
            netns: holder.sandbox.clone().unwrap_or_default(),
            mtu: self.mtu,
            fast_path: None,
            addresses: lease.addresses.clone(),
            // Docker chooses by which of a container's networks the default route leads.
            routes: match is_dockers(holder) {
                true => Vec::new(),
                false => ends::routes(self.conf.routes.as_deref(), &lease.addresses),
            },
        }
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
