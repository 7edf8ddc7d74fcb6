//! Checksums that a device says it fills in, and does not: echo requests pass, because the kernel
//! computes theirs, and TCP and UDP between pods do not.
//!
//! No setting shows it: a network card or a hypervisor may do it right for plain packets and wrong
//! inside of VXLAN. So it is tried. Peers that answer echo requests are sent datagrams for a port at
//! which no program listens, some with the checksum left to the device, some with the kernel's. Where only
//! those of the kernel are ever refused, the others did not arrive as they were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::refusal::{Checksum, Knocks, MOST, refused};
use super::scene::Scene;
use crate::cli::asker::Asker;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Flow, Observe as _};

/// "discard" (RFC 863): if a program does listen, nothing comes of it.
const PORT: u16 = 9;
/// Hosts tell only so often that a port is refused. So both datagrams of a trial go at once, the
/// device's first, and more than one trial must agree.
const TRIALS: usize = 2;

/// Sends to some of the peers that have answered so far: what is wrong is on this node.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let peers: BTreeMap<IpAddr, String> = scene
        .unexplained()
        .filter_map(|peer| Some((*scene.shared_addresses(peer).first()?, peer.name.clone())))
        .take(MOST)
        .collect();
    let all: Vec<IpAddr> = peers.keys().copied().collect();
    let heard = refused(&all, PORT, &Asker::default());
    let mut lost: Vec<IpAddr> = all.into_iter().filter(|to| !heard.contains(to)).collect();
    for _ in 0..TRIALS {
        lost = only_by_kernel(&lost);
    }
    let paths = scene.look.kernel.paths(&lost, &Flow::default())?;
    let mut by_dev: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (to, path) in lost.iter().zip(paths) {
        if let (Some(path), Some(name)) = (path, peers.get(to)) {
            by_dev.entry(path.dev).or_default().push(name);
        }
    }
    let mut findings = Vec::new();
    for (dev, names) in by_dev {
        if let Some(link) = scene.look.kernel.link_by_index(dev)? {
            findings.push(judge(&link.dev.name, &names));
        }
    }
    Ok(findings)
}

/// Those that refuse a datagram whose checksum the kernel filled in, and not one that was left to
/// the device.
fn only_by_kernel(hosts: &[IpAddr]) -> Vec<IpAddr> {
    if hosts.is_empty() {
        return Vec::new();
    }
    let by_device = Knocks::at(hosts, PORT, Checksum::ByDevice, &Asker::default());
    let by_kernel = Knocks::at(hosts, PORT, Checksum::ByKernel, &Asker::default()).refused();
    let by_device: BTreeSet<IpAddr> = by_device.refused();
    by_kernel.difference(&by_device).copied().collect()
}

fn judge(dev: &str, peers: &[&str]) -> Finding {
    let names = some(peers);
    Finding::run(
        format!(
            "wrong checksums: UDP packets by {dev} reach {names} if the kernel fills in their \
             checksum, and do not if that is left to the network card"
        ),
        "echo requests pass, but TCP and UDP between pods do not: the receiver drops what has a \
         wrong checksum",
        // Each feature that computes checksums for what is sent, by whatever name the device has it.
        format!("ethtool -K {dev} tx off"),
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn loopback_has_no_checksum_to_be_wrong() {
        assert!(only_by_kernel(&[Ipv4Addr::LOCALHOST.into()]).is_empty());
    }

    #[test]
    fn the_finding_names_device_and_peers() {
        let found = judge("flat.7", &["b", "c"]);
        assert!(found.what.contains("by flat.7 reach b, c if"), "{}", found.what);
        assert_eq!(found.mend, crate::cli::finding::Mend::Run("ethtool -K flat.7 tx off".into()));
    }
}
