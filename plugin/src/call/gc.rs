//! GC: what pods have left behind goes.
//!
//! A lease whose veth is gone is dead, whatever the runtime says: the kernel removes a veth with its
//! namespace. One whose veth is still there goes only if the runtime does not know the attachment
//! any more *and* its namespace is no longer where the runtime had it. A pod that lives keeps its
//! lease, whatever GC is told: a runtime with an empty list has lost its own state more often than
//! all its pods. Docker's containers are known to no runtime that calls, and what their start has come to is judged
//! by the kernel alone.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{AttachmentId, NetworkConf};
use flatnet_ipam::{Candidate, Key, Leases};

use super::request::Call;
use crate::attachment::books::Books;
use crate::attachment::dockers::is_unmoved;
use crate::attachment::living::lives;
use crate::attachment::sandboxes::Sandboxes;
use crate::error::Error;
use crate::identity::veth_name;
use crate::kernel::netns::Netns;
use crate::kernel::{Kernel, Mode, Netlink, Observe};
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::site::Site;
use crate::overlay::stamp::Stamp;

/// Goes over all leases of this node. Tells which addresses were given back.
///
/// # Errors
/// All that failed, after everything was tried.
pub fn run(call: &Call) -> Result<Vec<IpAddr>, Error> {
    let conf = &call.conf;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let _lock = NetworkLock::join(conf, own);
    let this = this_node(&mut node, conf, own);
    let mut errors = Vec::new();
    if let Some(this) = &this {
        let books = Books { conf, node: this, own, mode: Mode::Apply };
        errors.extend(clear(&mut node, &books).err());
    }
    let known = conf.valid_attachments.as_deref().map(|valid| veths(&conf.name, valid));
    let sandboxes = OnceCell::new();
    let mut addresses = Vec::new();
    for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
        let leases = match leases {
            Ok(leases) => leases,
            Err(e) => {
                errors.push(e.into());
                continue;
            }
        };
        let this_node = this.as_deref() == Some(leases.node());
        let judge = Judge { known: known.as_ref(), own, this_node, sandboxes: &sandboxes };
        errors.extend(collect(&mut node, &leases, &judge, &mut addresses));
    }
    let delegated = call.delegate().and_then(|delegate| match delegate {
        Some(delegate) => delegate.run("GC"),
        None => Ok(()),
    });
    errors.extend(delegated.err());
    Error::collect(errors).map(|()| addresses)
}

/// The name of the node that this namespace plays: of what was applied here last, else as the range file
/// says. `None` if that cannot be told; then there is nothing to make again, either.
fn this_node(node: &mut dyn Observe, conf: &NetworkConf, own: u64) -> Option<String> {
    if let Some(stamp) = Stamp::find(conf, own) {
        return Some(stamp.node);
    }
    let site = Site::find(node, conf);
    site.inspect_err(|e| log::info!("leases are not made again: {e}"))
        .ok()
        .map(|site| site.node.name)
}

/// Makes lost leases again, to be judged with the others, and removes what an ADD left that never came to
/// its end, where no lease and nothing but an open file leads to its pod's namespace.
fn clear(node: &mut dyn Kernel, books: &Books<'_>) -> Result<(), Error> {
    let kept = books.keep(node.observing())?;
    kept.problems.iter().for_each(|problem| log::warn!("{problem}"));
    if kept.unfinished.is_empty() {
        return Ok(());
    }
    let sandboxes = Sandboxes::look()?;
    for end in kept.unfinished.iter().filter(|end| sandboxes.is_gone(end)) {
        log::warn!("{} was left by an ADD, and its pod is gone: removed", end.dev.name);
        node.delete_link(&end.dev.name)?;
    }
    Ok(())
}

/// The names of the node's ends of the attachments that a runtime knows: of one whose lease was made again
/// no more may be known.
fn veths(network: &str, valid: &[AttachmentId]) -> BTreeSet<String> {
    let name = |id: &AttachmentId| veth_name(&Key::new(network, &id.container_id, &id.ifname));
    valid.iter().map(name).collect()
}

fn collect(
    node: &mut Netlink,
    leases: &Leases,
    judge: &Judge<'_>,
    addresses: &mut Vec<IpAddr>,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut keep = |candidate: &Candidate| match judge.keeps(node, candidate) {
        Ok(keep) => keep,
        Err(e) => {
            errors.push(e);
            true
        }
    };
    match leases.reclaim(&mut keep) {
        Ok(reclaimed) => {
            addresses.extend(reclaimed.removed.into_iter().flat_map(|gone| gone.addresses));
            errors.extend(reclaimed.errors.into_iter().map(Error::from));
        }
        Err(e) => errors.push(e.into()),
    }
    errors
}

/// Decides over the leases of one folder.
struct Judge<'a> {
    /// The names of the veths that the runtime knows; `None` if it did not say.
    known: Option<&'a BTreeSet<String>>,
    /// Inode of this network namespace.
    own: u64,
    /// Whether the folder is of the node that this namespace plays.
    this_node: bool,
    /// Where namespaces are, once that was asked.
    sandboxes: &'a OnceCell<Sandboxes>,
}

impl Judge<'_> {
    /// Whether a lease stays. The veth of one that does not is gone when this returns.
    fn keeps(&self, node: &mut dyn Kernel, candidate: &Candidate) -> Result<bool, Error> {
        if !self.is_ours(candidate) {
            return Ok(true);
        }
        if !lives(node.observing(), candidate) {
            return Ok(false);
        }
        let Some(key) = candidate.key.as_ref().filter(|key| !self.knows(key)) else {
            return Ok(true);
        };
        if self.may_live(node.observing(), key, candidate)? {
            return Ok(true);
        }
        node.delete_link(&veth_name(key))?;
        Ok(lives(node.observing(), candidate))
    }

    /// Several nodes may share a state folder, each in a namespace of its own: only this one's
    /// veths can be seen from here.
    fn is_ours(&self, candidate: &Candidate) -> bool {
        let netns = candidate.record.as_ref().map(|record| record.attachment.netns);
        self.this_node || netns == Some(self.own)
    }

    fn knows(&self, key: &Key) -> bool {
        self.known.is_none_or(|known| known.contains(&veth_name(key)))
    }

    /// Whether the pod's namespace is still where the runtime had it, or anywhere else: the process by which the
    /// runtime named it may be gone, and others live in it. One of which no lease says anything cannot be shown to be dead.
    fn may_live(
        &self,
        node: &mut dyn Observe,
        key: &Key,
        candidate: &Candidate,
    ) -> Result<bool, Error> {
        let Some(record) = &candidate.record else { return Ok(true) };
        // Its namespace has just gone, and the kernel has taken the veth with it.
        let Some(end) = node.link(&veth_name(key))? else { return Ok(false) };
        if is_unmoved(&record.attachment, &end) {
            return Ok(true);
        }
        if let Some(path) = record.attachment.sandbox.as_ref().filter(|_| !key.is_head()) {
            if Netns::open(Path::new(path))?.is_some() {
                return Ok(true);
            }
        }
        let sandboxes = match self.sandboxes.get() {
            Some(sandboxes) => sandboxes,
            None => {
                let found = Sandboxes::look()?;
                self.sandboxes.get_or_init(|| found)
            }
        };
        Ok(!sandboxes.is_gone(&end))
    }
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::{Holder, Key, Record};

    use super::*;
    use crate::attachment::dockers::DOCKER;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    const HERE: &str = "/proc/self/ns/net";
    const GONE: &str = "/nonexistent/netns";

    fn candidate(sandbox: &str) -> Candidate {
        let attachment = Holder {
            container_id: "c1".into(),
            ifname: "eth0".into(),
            netns: 7,
            sandbox: Some(sandbox.into()),
            ..Holder::default()
        };
        let address = "10.1.1.7".parse().unwrap();
        Candidate {
            key: Some(Key::new("pods", "c1", "eth0")),
            record: Some(Record { attachment, addresses: vec![address] }),
            addresses: vec![address],
            written: None,
        }
    }

    fn node(veth: bool) -> Fake {
        let mut node = Fake::default();
        if veth {
            let name = veth_name(&Key::new("pods", "c1", "eth0"));
            node.add(&name, 1450, &[], LinkKind::Veth);
            // No namespace has this number.
            node.links.values_mut().for_each(|one| one.link.peer_netns = Some(u32::MAX));
        }
        node
    }

    #[test]
    fn what_stays_and_what_goes() {
        let known = [AttachmentId { container_id: "c1".into(), ifname: "eth0".into() }];
        let other = [AttachmentId { container_id: "c1".into(), ifname: "net1".into() }];
        let sandboxes = OnceCell::new();
        // (veth there, sandbox, what the runtime knows, lease stays)
        let table: [(bool, &str, Option<&[AttachmentId]>, bool); 7] = [
            (false, HERE, Some(&known), false),
            (false, GONE, None, false),
            (true, GONE, None, true),
            (true, GONE, Some(&known), true),
            (true, GONE, Some(&other), false),
            (true, GONE, Some(&[]), false),
            (true, HERE, Some(&[]), true),
        ];
        for (veth, sandbox, valid, stays) in table {
            let names = valid.map(|valid| veths("pods", valid));
            let known = names.as_ref();
            let judge = Judge { known, own: 7, this_node: true, sandboxes: &sandboxes };
            let mut node = node(veth);
            let row = format!("veth {veth}, sandbox {sandbox}, valid {valid:?}");
            assert_eq!(judge.keeps(&mut node, &candidate(sandbox)).unwrap(), stays, "{row}");
            assert_eq!(node.links.len(), usize::from(veth && stays), "{row}");
        }
    }

    #[test]
    fn nobody_lives_behind_a_veth_that_goes_meanwhile() {
        let sandboxes = OnceCell::new();
        let judge = Judge { known: None, own: 7, this_node: true, sandboxes: &sandboxes };
        let candidate = candidate(GONE);
        let may_live = |mut node: Fake, sandbox: Option<u32>| {
            node.links.values_mut().for_each(|one| one.link.peer_netns = sandbox);
            judge.may_live(&mut node, candidate.key.as_ref().unwrap(), &candidate).unwrap()
        };
        assert!(!may_live(node(false), None));
        assert!(may_live(node(true), None), "nobody knows where the other end is");
    }

    #[test]
    fn what_docker_is_to_move_stays() {
        let sandboxes = OnceCell::new();
        let known = BTreeSet::new();
        let judge = Judge { known: Some(&known), own: 7, this_node: true, sandboxes: &sandboxes };
        for (namespace, peer_netns, stays) in [
            (DOCKER, None, true),
            (DOCKER, Some(u32::MAX), false),
            ("default", Some(u32::MAX), false),
        ] {
            let mut node = node(true);
            node.links.values_mut().for_each(|one| one.link.peer_netns = peer_netns);
            let mut candidate = candidate(GONE);
            let pod = &mut candidate.record.as_mut().unwrap().attachment.pod;
            (pod.namespace, pod.name) = (Some(namespace.into()), Some("web".into()));
            let row = format!("{namespace} {peer_netns:?}");
            assert_eq!(judge.keeps(&mut node, &candidate).unwrap(), stays, "{row}");
        }
    }

    #[test]
    fn another_nodes_leases_are_not_judged_here() {
        let (known, sandboxes) = (BTreeSet::new(), OnceCell::new());
        let (known, sandboxes) = (Some(&known), &sandboxes);
        let judge = |own| Judge { known, own, this_node: false, sandboxes };
        assert!(judge(8).keeps(&mut node(false), &candidate(GONE)).unwrap());
        assert!(!judge(7).keeps(&mut node(false), &candidate(GONE)).unwrap());
    }
}
