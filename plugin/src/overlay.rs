//! The overlay of one network on this node: observe, plan, apply.

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;

use flatnet_conf::{NetworkConf, Node, RangeFile, find_node};
use flatnet_ipam::{Leases, node_folder};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::desired::{self, Overlay};
use crate::error::Error;
use crate::forwarding;
use crate::identity::{overlay_name, vtep_mac};
use crate::kernel::{Dev, Kernel, KernelError, LinkKind, RuleSet, Table};
use crate::mtu::overlay_mtu;
use crate::reconcile::{DevicePlan, Observed, plan_device, plan_objects};
use crate::stamp::{Applied, Source, Stamp};
use crate::underlay::Underlay;

/// Makes sure that the overlay stands as the range file says, and tells what it means for this
/// node. Costs one message to the kernel if the file has not changed and the device is there.
///
/// `netns` is the inode of the node's network namespace.
///
/// # Errors
/// The range file is unreadable (5) or wrong (6, 7), no node of it is this one (7), something
/// foreign is in the way (104), or the kernel refuses (103).
pub fn ensure(kernel: &mut dyn Kernel, conf: &NetworkConf, netns: u64) -> Result<Stamp, Error> {
    let path = conf.range_file()?;
    let source = Source::of(path)?;
    if let Some(stamp) = standing(kernel, conf, netns, &source)? {
        return Ok(stamp);
    }
    let file = RangeFile::load(path)?;
    let node = this_node(kernel, conf, &file)?;
    // The folder must be there for the lock; making the leases' home makes it.
    Leases::create(&conf.state_dir, &conf.name, &node.name)?;
    let _lock = lock(conf, node)?;
    // Another ADD may have applied it while this one waited.
    if let Some(stamp) = standing(kernel, conf, netns, &source)? {
        return Ok(stamp);
    }
    let underlay = Underlay::look(kernel, &file, node)?;
    let mtu = overlay_mtu(kernel, &underlay, node, conf.mtu)?;
    if let Some(before) = Stamp::find(conf, netns) {
        // Killed half way, the device may look whole: only a stamp written at the end may say so.
        before.outdate(conf)?;
        if before.vni != file.vni {
            retire(kernel, conf, before.vni)?;
        }
    }
    forwarding::enable(kernel, &underlay, node)?;
    let rules = desired::rules(&conf.name, &file, conf.ip_masq);
    apply(kernel, &desired::overlay(&conf.name, &file, node, mtu), &rules)?;
    let stamp = Stamp::new(source, conf, netns, &Applied { node, vni: file.vni, mtu });
    stamp.write(conf)?;
    Ok(stamp)
}

/// The stamp, if it is fresh and its device stands.
fn standing(
    kernel: &mut dyn Kernel,
    conf: &NetworkConf,
    netns: u64,
    source: &Source,
) -> Result<Option<Stamp>, Error> {
    let stamp = Stamp::find(conf, netns).filter(|stamp| stamp.is_fresh(source, conf));
    let Some(stamp) = stamp else { return Ok(None) };
    let whole = kernel.link(&overlay_name(stamp.vni))?.is_some_and(|link| {
        link.up
            && link.mtu == stamp.mtu
            // The MAC is a function of VNI and VTEP: it also shows that this is still that node.
            && link.mac == Some(vtep_mac(stamp.vni, stamp.vtep))
            && matches!(link.kind, LinkKind::Vxlan(_))
    });
    Ok(whole.then_some(stamp))
}

/// The node of the range file that this namespace is.
///
/// # Errors
/// Code 7 if none or several are, with the candidates.
pub fn this_node<'a>(
    kernel: &mut dyn Kernel,
    conf: &NetworkConf,
    file: &'a RangeFile,
) -> Result<&'a Node, Error> {
    let own: Vec<IpAddr> = kernel.addresses()?.iter().map(|(_, network)| network.ip()).collect();
    let host = nix::unistd::gethostname().unwrap_or_default();
    let node =
        find_node(file, conf.range_file()?, conf.node.as_deref(), &own, &host.to_string_lossy())?;
    Ok(node)
}

/// One process at a time applies a network on a node. The kernel frees the lock of a killed one.
fn lock(conf: &NetworkConf, node: &Node) -> Result<Flock<std::fs::File>, Error> {
    let path = node_folder(&conf.state_dir, &conf.name, &node.name).join("overlay.lock");
    let failed = |action, source| Error::File { action, path: path.display().to_string(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        // A FIFO in its place is an error, not a wait for a reader.
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&path)
        .map_err(|e| failed("open", e))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed("lock", e.into()))
}

/// Removes what this network had under an earlier VNI.
fn retire(kernel: &mut dyn Kernel, conf: &NetworkConf, vni: u32) -> Result<(), Error> {
    let name = overlay_name(vni);
    let ours = desired::alias(&conf.name, "");
    let found = kernel.link(&name)?;
    if let Some(link) = &found {
        if !link.alias.as_ref().is_some_and(|alias| alias.starts_with(&ours)) {
            return Ok(());
        }
        log::warn!("{name}: the range file has another vni now; removed");
        kernel.delete_link(&name)?;
    }
    // Also without a device: an ADD that was killed in between has left the rules alone.
    Ok(kernel.remove_rules(vni)?)
}

/// Makes what stands in the kernel into what should stand, with the difference only.
///
/// # Errors
/// As [`ensure`]. A device that this call made does not outlive its failure.
pub fn apply(kernel: &mut dyn Kernel, want: &Overlay, rules: &RuleSet) -> Result<(), Error> {
    let name = &want.link.name;
    let found = kernel.link(name)?;
    let plan = plan_device(want, found.as_ref());
    if let DevicePlan::Foreign(reason) = plan {
        return Err(Error::Foreign { reason });
    }
    // Before the device: there is no moment in which strangers could inject.
    kernel.put_rules(rules)?;
    if let DevicePlan::Recreate(reason) = &plan {
        log::warn!("{reason}: made anew");
        kernel.delete_link(name)?;
    }
    let made = plan != DevicePlan::Keep;
    if made {
        create(kernel, want)?;
    }
    let outcome = observe(kernel, name)
        .and_then(|have| Ok(kernel.apply(&have.link.dev.clone(), &plan_objects(want, &have))?))
        .map_err(|e| explain(e, want));
    if outcome.is_err() && made {
        if let Err(e) = kernel.delete_link(name) {
            log::warn!("cannot remove {name} again: {e}");
        }
    }
    outcome
}

fn observe(kernel: &mut dyn Kernel, name: &str) -> Result<Observed, Error> {
    let link = kernel.link(name)?.ok_or_else(|| Error::Foreign {
        reason: format!("{name} vanished while it was set up; does another program remove it?"),
    })?;
    let dev = link.dev.index;
    let addresses = kernel.addresses()?;
    Ok(Observed {
        addresses: addresses.into_iter().filter(|(on, _)| *on == dev).map(|(_, a)| a).collect(),
        routes: kernel.routes(dev, Table::Main)?,
        neighbours: kernel.neighbours(dev)?,
        fdb: kernel.fdb(dev)?,
        link,
    })
}

fn create(kernel: &mut dyn Kernel, want: &Overlay) -> Result<Dev, Error> {
    match kernel.create_vxlan(&want.link) {
        Ok(dev) => Ok(dev),
        Err(e) if e.errno() == Some(Errno::EEXIST) => match rival(kernel, want)? {
            Some(reason) => Err(Error::Foreign { reason }),
            None => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

/// The kernel has one VXLAN device for each VNI and port: who has ours?
fn rival(kernel: &mut dyn Kernel, want: &Overlay) -> Result<Option<String>, KernelError> {
    let ours = &want.link.vxlan;
    let links = kernel.links()?;
    Ok(links.iter().find_map(|link| match &link.kind {
        LinkKind::Vxlan(theirs) if theirs.vni == ours.vni => Some(format!(
            "the VXLAN device {} already has VNI {} (UDP port {}); give this network another vni \
             in the range file, or remove that device",
            link.dev.name, theirs.vni, theirs.port
        )),
        _ => None,
    }))
}

fn explain(error: Error, want: &Overlay) -> Error {
    match &error {
        // Switching the device on binds the UDP port.
        Error::Kernel(e) if e.errno() == Some(Errno::EADDRINUSE) => Error::Foreign {
            reason: format!(
                "UDP port {} is taken by another program (ss -ulpn sport = :{0}); stop it or set \
                 another port in the range file",
                want.link.vxlan.port
            ),
        },
        _ => error,
    }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
