//! The overlay of one network on this node: when it is brought about, and from what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::net::IpAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::SystemTime;

use flatnet_conf::{NetworkConf, Node, RangeFile, find_node};
use flatnet_ipam::Leases;
use nix::fcntl::Flock;

use crate::error::Error;
use crate::firewall::{Policy, blockade};
use crate::identity::{overlay_name, vtep_mac};
use crate::kernel::{Kernel, LinkKind, Observe, Route};
use crate::overlay::apply::{Seen, apply};
use crate::overlay::desired::{self, Overlay, Via};
use crate::overlay::fast_path::{self, Found};
use crate::overlay::forwarding;
use crate::overlay::last_read::LastRead;
use crate::overlay::lock;
use crate::overlay::mtu;
use crate::overlay::node_lock;
use crate::overlay::other_networks;
use crate::overlay::receiver;
use crate::overlay::reconcile::RouteKey;
use crate::overlay::retire::{devices, nameless, regroup, retire};
use crate::overlay::stamp::{Applied, FileState, Stamp};
use crate::overlay::underlay::Underlay;
use crate::overlay::ways::Ways;
use crate::overlay::witness;

/// A node of a range file: where a network is to be brought about.
pub struct Site {
    source: FileState,
    /// Whether a later change of the file is sure to show in its source.
    settled: bool,
    file: Arc<RangeFile>,
    /// The node in the range file.
    pub node: Node,
}

/// What was brought about, and written down.
pub struct Brought {
    /// What the stamp tells of it.
    pub standing: Standing,
    /// All that stands.
    pub overlay: Overlay,
    /// The stamp.
    pub stamp: Stamp,
    /// See [`Ensured::is_new`].
    pub is_new: bool,
}

/// What of it decides whether it still stands.
pub struct Standing {
    /// The MTU of overlay and pods, in bytes.
    pub mtu: u32,
    vrf: Option<u32>,
    world: Option<u32>,
    witness: Option<IpAddr>,
    /// The numbers of the programs by which packets take the fast path, if they do.
    pub programs: Option<[u32; 2]>,
}

impl Standing {
    /// Finds another witness, where the one there was has gone with its peer.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn renew(
        &mut self,
        kernel: &mut dyn Observe,
        routes: &HashMap<RouteKey, (Via, Route)>,
    ) -> Result<(), Error> {
        let leads = |witness: IpAddr| routes.values().any(|(_, r)| r.dst.network() == witness);
        if self.witness.is_none_or(leads) {
            return Ok(());
        }
        self.witness = match routes.values().next().map(|(_, route)| route.dst.network()) {
            Some(address) => kernel.our_route(address)?.map(|_| address),
            None => None,
        };
        Ok(())
    }
}

/// An overlay that stands.
pub struct Ensured {
    /// What it means for this node.
    pub stamp: Stamp,
    /// Whether nothing was applied under this name of the node before: leases may be elsewhere, or lost.
    pub is_new: bool,
}

/// Makes sure that the overlay stands as the range file says, and tells what it means for this
/// node. Costs a few messages to the kernel if the file has not changed and the overlay is there.
///
/// `netns` is the inode of the node's network namespace.
///
/// # Errors
/// The range file is unreadable (5) or wrong (6, 7), no node of it is this one (7), something
/// foreign is in the way (104), or the kernel refuses (103).
pub fn ensure(kernel: &mut dyn Kernel, conf: &NetworkConf, netns: u64) -> Result<Ensured, Error> {
    let source = FileState::of(conf.range_file()?)?;
    if let Some(stamp) = standing(kernel.observing(), conf, netns, &source)? {
        return Ok(Ensured { stamp, is_new: false });
    }
    let site = Site::find(kernel.observing(), conf)?;
    let _all = node_lock::wait();
    let _lock = site.lock(conf)?;
    // Another ADD may have applied it while this one waited.
    if let Some(stamp) = standing(kernel.observing(), conf, netns, &site.source)? {
        return Ok(Ensured { stamp, is_new: false });
    }
    let mut ways = site.survey(kernel.observing(), conf)?;
    let Brought { stamp, is_new, .. } = site.bring_about(kernel, conf, netns, &mut ways)?;
    ways.mtu.warnings(&site.file).iter().for_each(|warning| log::warn!("{warning}"));
    blockade::warn(kernel.observing(), &site.file);
    Ok(Ensured { stamp, is_new })
}

/// The stamp, if it is fresh and what it stands for is there: the device as it was made, the way to
/// the world, packet filter rules, and a route. Whatever switches a device off or flushes a table takes at least one
/// of these away; a single entry that was removed by hand is for `flatnet sync` to find.
fn standing(
    kernel: &mut dyn Observe,
    conf: &NetworkConf,
    netns: u64,
    source: &FileState,
) -> Result<Option<Stamp>, Error> {
    let stamp = Stamp::find(conf, netns).filter(|stamp| stamp.is_fresh(source, conf));
    let Some(stamp) = stamp else { return Ok(None) };
    let whole = kernel.link(&overlay_name(stamp.vni))?.is_some_and(|link| {
        link.up
            && link.mtu == stamp.mtu
            // The MAC is a function of VNI and VTEP: it also shows that this is still that node.
            && link.mac == Some(vtep_mac(stamp.vni, stamp.vtep))
            && link.kind == LinkKind::Vxlan(stamp.vxlan())
    });
    if !whole || !kernel.has_rules(stamp.vni)? {
        return Ok(None);
    }
    // A default route that has come since may lead by a device that does not forward yet.
    if forwarding::world(kernel, &stamp.ranges)? != stamp.world {
        return Ok(None);
    }
    // It must not pass by policies that have come since.
    if stamp.programs.is_some() && kernel.has_ipsec()? {
        return Ok(None);
    }
    let routed = match stamp.witness {
        Some(witness) => kernel.our_route(witness)?.is_some(),
        None => true,
    };
    Ok(routed.then_some(stamp))
}

impl Site {
    /// Reads the range file and finds out which of its nodes this namespace is.
    ///
    /// # Errors
    /// The range file is unreadable (5) or wrong (6, 7), or no node of it is this one (7).
    pub fn find(kernel: &mut dyn Observe, conf: &NetworkConf) -> Result<Self, Error> {
        Self::find_by(kernel, conf, &LastRead::default())
    }

    /// The same, where the file may have been read before.
    ///
    /// # Errors
    /// As [`Site::find`].
    pub fn find_by(
        kernel: &mut dyn Observe,
        conf: &NetworkConf,
        last: &LastRead,
    ) -> Result<Self, Error> {
        let path = conf.range_file()?;
        // Looked at before it is read: a change in between makes the stamp stale, not wrong.
        let source = FileState::of(path)?;
        let file = last.load(path)?;
        let settled = source.settled(SystemTime::now());
        let node = this_node(kernel, conf, &file)?.clone();
        Ok(Self { source, settled, file, node })
    }

    /// Whether a file is the one that was read, and unchanged.
    pub fn is_of(&self, path: &FilePath) -> bool {
        self.settled && FileState::of(path).is_ok_and(|source| source == self.source)
    }

    /// Finds out again which node of the file this namespace is.
    ///
    /// # Errors
    /// No node of it is (7).
    pub fn find_node(&mut self, kernel: &mut dyn Observe, conf: &NetworkConf) -> Result<(), Error> {
        self.node = this_node(kernel, conf, &self.file)?.clone();
        Ok(())
    }

    /// The whole range file.
    pub fn file(&self) -> &RangeFile {
        &self.file
    }

    /// The network's VNI.
    pub fn vni(&self) -> u32 {
        self.file.vni
    }

    /// One process at a time brings about a network on a node. The kernel frees the lock of one
    /// that is killed.
    ///
    /// # Errors
    /// The state folder cannot be written (5).
    pub fn lock(&self, conf: &NetworkConf) -> Result<Flock<File>, Error> {
        // The folder must be there for the lock; making the leases' home makes it.
        Leases::create(&conf.state_dir, &conf.name, &self.node.name)?;
        lock::alone(conf, &self.node.name)
    }

    /// Looks whether the network can be brought about, and how; changes nothing.
    ///
    /// # Errors
    /// Another network has its addresses, or another device its VNI or its port (104), the node's own
    /// uplink carries too little (7), or the kernel cannot be asked (103).
    pub fn survey(&self, kernel: &mut dyn Observe, conf: &NetworkConf) -> Result<Ways, Error> {
        let Self { file, node, .. } = self;
        other_networks::refuse_overlap(kernel, &conf.name, file)?;
        let underlay = Underlay::look(kernel, file, node)?;
        let mtu = mtu::decide(kernel, &underlay, node, conf.mtu)?;
        let alias = desired::alias(&conf.name, &node.name);
        let device = desired::device(file, node, mtu.pods, underlay.place.flow.vrf);
        receiver::survey(kernel, &device, &alias)?;
        let world = forwarding::world(kernel, &node.ranges)?;
        Ok(Ways { underlay, mtu, world })
    }

    /// Makes what stands into what should stand, and writes down that it does. The lock is the caller's.
    ///
    /// # Errors
    /// Those of [`Site::establish`]; 5 if the stamp cannot be written.
    pub fn bring_about(
        &self,
        kernel: &mut dyn Kernel,
        conf: &NetworkConf,
        netns: u64,
        ways: &mut Ways,
    ) -> Result<Brought, Error> {
        let before = Stamp::find(conf, netns);
        if let Some(before) = &before {
            // Killed half way, the overlay may look whole: only a stamp written at the end may say so.
            before.outdate(conf)?;
        }
        let (standing, overlay) = self.establish(kernel, conf, ways, before.as_ref())?;
        let stamp = self.stamp(conf, netns, &standing);
        stamp.write(conf)?;
        let is_new = before.is_none_or(|before| before.node != stamp.node);
        Ok(Brought { standing, overlay, stamp, is_new })
    }

    /// Makes what stands into what should stand, with the difference only, and returns that. `before` is
    /// the stamp of what was applied last, if there is one.
    ///
    /// Where the network had another VNI, that stands until this one does, whose pods are then the
    /// new one's.
    ///
    /// # Errors
    /// Something foreign is in the way (104), or the kernel refuses (103).
    pub fn establish(
        &self,
        kernel: &mut dyn Kernel,
        conf: &NetworkConf,
        ways: &mut Ways,
        before: Option<&Stamp>,
    ) -> Result<(Standing, Overlay), Error> {
        let Self { file, node, .. } = self;
        // They may be many, and are not what they were when this is done.
        let routes = Some(std::mem::take(&mut ways.underlay.ours));
        let Ways { underlay, mtu, world } = &*ways;
        let mtu = mtu.pods;
        let mut earlier = devices(kernel.observing(), &conf.name)?;
        earlier.remove(&file.vni);
        let nameless = nameless(kernel.observing(), node.vtep)?;
        forwarding::enable(kernel, underlay, node)?;
        let vrf = underlay.place.flow.vrf;
        let mut want = desired::overlay(&conf.name, file, node, mtu, &underlay.adjacent());
        want.link.vxlan.vrf = vrf;
        let indices: Vec<u32> = earlier.values().map(|link| link.dev.index).collect();
        let link = kernel.link(&want.link.name)?;
        let found = Found::on(kernel.observing(), link.as_ref().map(|link| &link.dev))?;
        let takes = fast_path::is_wanted(conf) && found.stands();
        let mut policy = self.policy(conf, ways, takes);
        let made = apply(kernel, &want, &policy, &indices, Seen { link, routes })?;
        let programs = fast_path::settle(kernel, conf, &want, &policy, (found, made))?;
        if programs.is_some() != policy.fast_path {
            policy.fast_path = programs.is_some();
            kernel.put_rules(&policy.rules())?;
        }
        // Of what was cut short the stamp may tell where no device does.
        let mut vnis: BTreeSet<u32> = earlier.into_keys().collect();
        vnis.extend(before.map(|before| before.vni).filter(|vni| *vni != file.vni));
        if !vnis.is_empty() {
            regroup(kernel, &conf.name, &vnis, file.vni)?;
            for vni in vnis {
                log::warn!("{}: the range file has another vni now", overlay_name(vni));
                retire(kernel, &conf.name, vni)?;
            }
            // What kept the two apart is not needed any more.
            kernel.put_rules(&policy.rules())?;
        }
        self.clear(kernel, &nameless)?;
        let witness = witness::choose(kernel.observing(), &want, before)?;
        Ok((Standing { mtu, vrf, world: *world, witness, programs }, want))
    }

    /// What the network wants of the packet filter here, where packets take the fast path or not.
    pub fn policy(&self, conf: &NetworkConf, ways: &Ways, fast_path: bool) -> Policy {
        let Self { file, node, .. } = self;
        let masquerade = desired::masquerade(conf);
        let policy = desired::policy(&conf.name, file, node, ways.underlay.devices(), masquerade);
        Policy { fast_path, ..policy }
    }

    /// Removes devices that were without a name when we began, and still are: of a change that was
    /// killed, and taken back.
    fn clear(&self, kernel: &mut dyn Kernel, before: &BTreeMap<u32, u32>) -> Result<(), Error> {
        let others = before.iter().filter(|(_, vni)| **vni != self.file.vni);
        for (index, vni) in others {
            if nameless(kernel.observing(), self.node.vtep)?.contains_key(index) {
                kernel.delete_link(&overlay_name(*vni))?;
            }
        }
        Ok(())
    }

    /// The stamp of what was brought about in the namespace with this inode.
    pub fn stamp(&self, conf: &NetworkConf, netns: u64, standing: &Standing) -> Stamp {
        let Self { file, node, .. } = self;
        let Standing { mtu, vrf, world, witness, programs } = *standing;
        let (vni, port) = (file.vni, file.port);
        let applied = Applied { node, vni, port, vrf, world, mtu, witness, programs };
        Stamp::new(self.source.clone(), conf, netns, &applied)
    }
}

/// The node of the range file that this namespace is.
///
/// # Errors
/// Code 7 if none or several are, with the candidates.
pub fn this_node<'a>(
    kernel: &mut dyn Observe,
    conf: &NetworkConf,
    file: &'a RangeFile,
) -> Result<&'a Node, Error> {
    let own: Vec<IpAddr> = kernel.addresses()?.iter().map(|(_, network)| network.ip()).collect();
    let host = nix::unistd::gethostname().unwrap_or_default();
    let node =
        find_node(file, conf.range_file()?, conf.node.as_deref(), &own, &host.to_string_lossy())?;
    Ok(node)
}
