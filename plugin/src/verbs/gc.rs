//! GC: what pods have left behind goes.
//!
//! A lease whose veth is gone is dead, whatever anybody says: the kernel removes a veth with its
//! namespace. One whose veth is still there goes only if the runtime does not know the attachment
//! any more *and* its namespace is no longer where the runtime had it. A pod that lives keeps its
//! lease, whatever GC is told: a runtime with an empty list has lost its own state more often than
//! all its pods.

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::AttachmentId;
use flatnet_ipam::{Candidate, Leases};

use crate::dispatch::Call;
use crate::error::Error;
use crate::identity::veth_name;
use crate::kernel::netns::Netns;
use crate::kernel::{Kernel, Netlink};
use crate::living::lives;
use crate::network_lock::NetworkLock;
use crate::stamp::Stamp;

/// Goes over all leases of this node. Tells which addresses were given back.
///
/// # Errors
/// All that failed, after everything was tried.
pub fn run(call: &Call) -> Result<Vec<IpAddr>, Error> {
    let conf = &call.conf;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let _lock = NetworkLock::join(conf, own);
    let this = Stamp::find(conf, own).map(|stamp| stamp.node);
    let mut errors = Vec::new();
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
        let judge = Judge { valid: conf.valid_attachments.as_deref(), own, this_node };
        errors.extend(collect(&mut node, &leases, &judge, &mut addresses));
    }
    let delegated = call.delegate().and_then(|delegate| match delegate {
        Some(delegate) => delegate.run("GC"),
        None => Ok(()),
    });
    errors.extend(delegated.err());
    Error::collect(errors).map(|()| addresses)
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
    /// What the runtime knows; `None` if it did not say.
    valid: Option<&'a [AttachmentId]>,
    /// Inode of this network namespace.
    own: u64,
    /// Whether the folder is of the node that this namespace plays.
    this_node: bool,
}

impl Judge<'_> {
    /// Whether a lease stays. The veth of one that does not is gone when this returns.
    fn keeps(&self, node: &mut dyn Kernel, candidate: &Candidate) -> Result<bool, Error> {
        if !self.is_ours(candidate) {
            return Ok(true);
        }
        if !lives(node, candidate) {
            return Ok(false);
        }
        let (Some(key), true) = (&candidate.key, self.is_forgotten(candidate)?) else {
            return Ok(true);
        };
        node.delete_link(&veth_name(key))?;
        Ok(lives(node, candidate))
    }

    /// Several nodes may share a state folder, each in a namespace of its own: only this one's
    /// veths can be seen from here.
    fn is_ours(&self, candidate: &Candidate) -> bool {
        let netns = candidate.record.as_ref().map(|record| record.attachment.netns);
        self.this_node || netns == Some(self.own)
    }

    fn is_forgotten(&self, candidate: &Candidate) -> Result<bool, Error> {
        let (Some(valid), Some(record)) = (self.valid, &candidate.record) else {
            return Ok(false);
        };
        let holder = &record.attachment;
        let known = valid.iter().any(|attachment| {
            attachment.container_id == holder.container_id && attachment.ifname == holder.ifname
        });
        if known {
            return Ok(false);
        }
        // A lease that does not say where its pod lived cannot be shown to be dead.
        match &holder.sandbox {
            Some(path) => Ok(Netns::open(Path::new(path))?.is_none()),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::{Attachment, Key, Record};

    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    const HERE: &str = "/proc/self/ns/net";
    const GONE: &str = "/nonexistent/netns";

    fn candidate(sandbox: &str) -> Candidate {
        let attachment = Attachment {
            container_id: "c1".into(),
            ifname: "eth0".into(),
            netns: 7,
            sandbox: Some(sandbox.into()),
            ..Attachment::default()
        };
        let address = "10.1.1.7".parse().unwrap();
        Candidate {
            key: Some(Key::new("pods", "c1", "eth0")),
            record: Some(Record { attachment, addresses: vec![address] }),
            addresses: vec![address],
        }
    }

    fn node(veth: bool) -> Fake {
        let mut node = Fake::default();
        if veth {
            let name = veth_name(&Key::new("pods", "c1", "eth0"));
            node.add(&name, 1450, &[], LinkKind::Veth);
        }
        node
    }

    #[test]
    fn what_stays_and_what_goes() {
        let known = [AttachmentId { container_id: "c1".into(), ifname: "eth0".into() }];
        let other = [AttachmentId { container_id: "c1".into(), ifname: "net1".into() }];
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
            let judge = Judge { valid, own: 7, this_node: true };
            let mut node = node(veth);
            let row = format!("veth {veth}, sandbox {sandbox}, valid {valid:?}");
            assert_eq!(judge.keeps(&mut node, &candidate(sandbox)).unwrap(), stays, "{row}");
            assert_eq!(node.links.len(), usize::from(veth && stays), "{row}");
        }
    }

    #[test]
    fn another_nodes_leases_are_not_judged_here() {
        let judge = |own| Judge { valid: Some(&[]), own, this_node: false };
        assert!(judge(8).keeps(&mut node(false), &candidate(GONE)).unwrap());
        assert!(!judge(7).keeps(&mut node(false), &candidate(GONE)).unwrap());
    }
}
