//! How large a packet the overlay can carry.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use flatnet_conf::Node;

use crate::error::Error;
use crate::kernel::Observe;
use crate::overlay::underlay::Underlay;

/// Outer headers around an inner packet, in bytes: Ethernet 14, VXLAN 8, UDP 8 and IP.
/// RFC 7348 section 4.3 counts the same for IPv4.
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;
/// The smallest MTU that IPv6 allows, RFC 8200 section 5; below it the kernel switches IPv6 off.
const MINIMUM_V6: u32 = 1280;
/// The smallest MTU that IPv4 allows, RFC 791.
const MINIMUM_V4: u32 = 68;
/// What to expect of a wire that cannot be seen, RFC 894.
const ETHERNET: u32 = 1500;

/// The overlay's MTU in bytes: what the narrowest way to a peer carries, less the outer headers,
/// or what is configured if that is not more.
///
/// # Errors
/// Code 7 if more is configured than the underlay carries, or the result is too small for the
/// families in use; a kernel error if a device cannot be looked at.
pub fn overlay_mtu(
    kernel: &mut dyn Observe,
    underlay: &Underlay,
    node: &Node,
    configured: Option<u32>,
) -> Result<u32, Error> {
    let carried = narrowest(kernel, underlay, node)?.mtu;
    choose(carried, node, configured).map_err(|reason| Error::Configuration { reason })
}

/// Bytes of outer headers on the underlay of this node.
pub fn overhead(node: &Node) -> u32 {
    if node.vtep.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 }
}

fn choose(underlay: u32, node: &Node, configured: Option<u32>) -> Result<u32, String> {
    let overhead = overhead(node);
    let most = underlay.saturating_sub(overhead);
    let minimum = match node.ranges.iter().any(|range| range.subnet().is_ipv6()) {
        true => MINIMUM_V6,
        false => MINIMUM_V4,
    };
    if most < minimum {
        return Err(format!(
            "the underlay's MTU of {underlay} leaves {most} bytes for pods, and their addresses \
             need at least {minimum}; raise the MTU of the underlay"
        ));
    }
    match configured {
        Some(mtu) if mtu > most => Err(format!(
            "mtu: {mtu} is more than the underlay carries: {underlay} less {overhead} bytes of \
             outer headers is {most}; leave mtu out to have it derived"
        )),
        Some(mtu) if mtu < minimum => {
            Err(format!("mtu: {mtu} is less than the {minimum} that the pods' addresses need"))
        }
        Some(mtu) => Ok(mtu),
        None => Ok(most),
    }
}

/// The way that decides the MTU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowest {
    /// What it carries, outer headers included, in bytes.
    pub mtu: u32,
    /// The uplink.
    pub dev: String,
    /// The peer's VTEP; `None` if the MTU is that of the own VTEP's device.
    pub toward: Option<IpAddr>,
}

/// The way to a peer with the smallest MTU; without a reachable peer, the device that has the VTEP's
/// address, unless it is the loopback or a VRF, which say nothing about the wire.
///
/// # Errors
/// Code 7 if there is neither; a kernel error if a device cannot be looked at.
pub fn narrowest(
    kernel: &mut dyn Observe,
    underlay: &Underlay,
    node: &Node,
) -> Result<Narrowest, Error> {
    let mut devices = BTreeMap::new();
    let mut narrowest: Option<Narrowest> = None;
    for (peer, path) in &underlay.peers {
        let Some(path) = path else {
            log::info!("no route to VTEP {peer} now; it does not count for the MTU");
            continue;
        };
        let device = match devices.entry(path.dev) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(kernel.link_by_index(path.dev)?),
        };
        let Some(device) = device else { continue };
        let mtu = path.mtu.map_or(device.mtu, |mtu| mtu.min(device.mtu));
        if narrowest.as_ref().is_none_or(|narrowest| mtu < narrowest.mtu) {
            let dev = device.dev.name.clone();
            narrowest = Some(Narrowest { mtu, dev, toward: Some(*peer) });
        }
    }
    if let Some(narrowest) = narrowest {
        return Ok(narrowest);
    }
    let link = match underlay.place.own {
        Some(dev) => kernel.link_by_index(dev)?,
        None => None,
    };
    let own = link.map(|link| {
        let mtu = if link.dev.name == "lo" || link.is("vrf") { ETHERNET } else { link.mtu };
        Narrowest { mtu, dev: link.dev.name, toward: None }
    });
    own.ok_or_else(|| Error::Configuration {
        reason: format!(
            "the VTEP address {} of node {} is on no device of this machine, and no peer is \
             reachable; add the address, or correct that node's VTEP",
            node.vtep, node.name
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use flatnet_conf::RangeFile;

    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{LinkKind, Path};

    fn file(ranges: &str, vteps: [&str; 3]) -> RangeFile {
        let nodes: Vec<_> = vteps
            .iter()
            .enumerate()
            .map(|(i, vtep)| {
                let ranges = ranges.replace('N', &i.to_string());
                format!(r#"{{"name":"n{i}","vtep":"{vtep}","ranges":[{ranges}]}}"#)
            })
            .collect();
        let text = format!(r#"{{"version":1,"nodes":[{}]}}"#, nodes.join(","));
        RangeFile::parse(FilePath::new("t.json"), text.as_bytes()).unwrap()
    }

    const V4: [&str; 3] = ["192.0.2.1", "192.0.2.2", "198.51.100.3"];
    const V6: [&str; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];

    fn kernel(vteps: [&str; 3], route_mtu: Option<u32>) -> Fake {
        let mut fake = Fake::default();
        let prefix = if vteps[0].contains(':') { 64 } else { 24 };
        let own = format!("{}/{prefix}", vteps[0]);
        let one = fake.add("eth0", 1500, &[&own], LinkKind::Other(String::new()));
        let two = fake.add("eth1", 9000, &[], LinkKind::Other(String::new()));
        fake.paths.insert(vteps[1].parse().unwrap(), Path { dev: two, mtu: None, on_link: true });
        fake.paths
            .insert(vteps[2].parse().unwrap(), Path { dev: one, mtu: route_mtu, on_link: true });
        fake
    }

    /// The overlay's MTU on the `n`th node.
    fn on(kernel: &mut Fake, file: &RangeFile, n: usize, set: Option<u32>) -> Result<u32, Error> {
        let node = &file.nodes[n];
        let underlay = Underlay::look(kernel, file, node)?;
        overlay_mtu(kernel, &underlay, node, set)
    }

    fn derive(vteps: [&str; 3], route: Option<u32>, set: Option<u32>) -> Result<u32, String> {
        let file = file(r#""10.0.N.0/24""#, vteps);
        on(&mut kernel(vteps, route), &file, 0, set).map_err(|e| e.to_string())
    }

    #[test]
    fn the_narrowest_way_decides() {
        assert_eq!(derive(V4, None, None), Ok(1450));
        assert_eq!(derive(V4, Some(1400), None), Ok(1350));
        assert_eq!(derive(V6, None, None), Ok(1430));
        assert_eq!(derive(V4, None, Some(1000)), Ok(1000));
    }

    #[test]
    fn more_than_the_underlay_carries_is_an_error() {
        let error = derive(V4, None, Some(1451)).unwrap_err();
        assert_eq!(
            error,
            "mtu: 1451 is more than the underlay carries: 1500 less 50 bytes of outer headers is \
             1450; leave mtu out to have it derived"
        );
    }

    #[test]
    fn ipv6_pods_need_1280_bytes() {
        let file = file(r#""fd00:N::/64""#, V4);
        let mut kernel = kernel(V4, Some(1300));
        let error = on(&mut kernel, &file, 0, None).unwrap_err();
        assert!(error.to_string().contains("leaves 1250 bytes"), "{error}");
    }

    #[test]
    fn without_peers_the_own_device_decides() {
        let file = file(r#""10.0.N.0/24""#, V4);
        let mut kernel = kernel(V4, None);
        kernel.paths.clear();
        assert_eq!(on(&mut kernel, &file, 0, None).unwrap(), 1450);
        kernel.links.clear();
        kernel.add("lo", 65536, &["192.0.2.1/32"], LinkKind::Other(String::new()));
        assert_eq!(on(&mut kernel, &file, 0, None).unwrap(), 1450);
        let elsewhere = on(&mut kernel, &file, 1, None).unwrap_err();
        assert!(elsewhere.to_string().contains("192.0.2.2 of node n1 is on no device"));
    }
}
