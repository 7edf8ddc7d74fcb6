//! Letting packets through the node: forwarding is switched on where it is needed, and only there.
//!
//! IPv4 looks at the device that a packet comes in by. Ours get their setting with their other
//! attributes ([`crate::kernel::Change::Forward`]). The uplinks, by which requests to published
//! ports and answers from outside come in, get it here: those toward the peers, the one with the
//! VTEP, and every other by which packets of pods may leave (see [`crate::overlay::outlets`]). No other
//! device becomes a router's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use flatnet_conf::{Node, Range};

use crate::error::Error;
use crate::kernel::{Flow, Kernel, Observe};
use crate::overlay::outlets;
use crate::overlay::underlay::Underlay;

const ALL_V6: &str = "net/ipv6/conf/all/forwarding";
/// Whether forwarded IPv4 packets heed what the kernel has found out about a path's MTU. (Forwarded
/// IPv6 packets always do.)
const HEED_PATH_MTU: &str = "net/ipv4/ip_forward_use_pmtu";
/// An address that no host has (RFC 5737): the way to it is the way to the world.
const WORLD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Switches on what the pods of a node need beyond our own devices.
///
/// # Errors
/// A setting cannot be read or written.
pub fn enable(kernel: &mut dyn Kernel, underlay: &Underlay, node: &Node) -> Result<(), Error> {
    if has(&node.ranges, false) {
        for uplink in uplinks(kernel.observing(), underlay, node)? {
            kernel.set_sysctl(&format!("net/ipv4/conf/{uplink}/forwarding"), "1")?;
        }
        if node.vtep.is_ipv6() {
            // No router fragments the outer packets then; the pods must hear what a narrow hop carries.
            kernel.set_sysctl(HEED_PATH_MTU, "1")?;
        }
    }
    if has(&node.ranges, true) && kernel.sysctl(ALL_V6)?.is_some_and(|now| now != "1") {
        keep_router_advertisements(kernel, underlay)?;
        // IPv6 forwards for all devices or none (net/ipv6/ip6_output.c, ip6_forward).
        kernel.set_sysctl(ALL_V6, "1")?;
    }
    Ok(())
}

/// Index of the device by which the world is reached now, if pods have IPv4 addresses: where it is
/// another than it was, there is something to switch on.
///
/// # Errors
/// The kernel cannot be asked.
pub fn world(kernel: &mut dyn Observe, ranges: &[Range]) -> Result<Option<u32>, Error> {
    if !has(ranges, false) {
        return Ok(None);
    }
    let path = kernel.paths(&[WORLD], &Flow::default())?.into_iter().flatten().next();
    Ok(path.map(|path| path.dev))
}

fn has(ranges: &[Range], ipv6: bool) -> bool {
    ranges.iter().any(|range| range.subnet().is_ipv6() == ipv6)
}

/// The names of the devices that must forward IPv4.
fn uplinks(
    kernel: &mut dyn Observe,
    underlay: &Underlay,
    node: &Node,
) -> Result<BTreeSet<String>, Error> {
    let mut uplinks = underlay.devices().clone();
    if node.vtep.is_ipv4() {
        uplinks.extend(underlay.outlets.iter().cloned());
    } else {
        let ways = kernel.ways(true)?;
        uplinks.extend(outlets::look(kernel, &ways)?.into_values().map(|link| link.dev.name));
    }
    Ok(uplinks)
}

/// A host takes router advertisements, a router does not: a node that has its default route from
/// one would lose it as soon as it forwards. `accept_ra=2` means "even when forwarding"; it is set on
/// the devices that have brought a route so far, if they lead out of the machine. By any other a
/// container could make itself the node's router, or stay it: the kernel drops its route now.
fn keep_router_advertisements(kernel: &mut dyn Kernel, underlay: &Underlay) -> Result<(), Error> {
    let ways = [kernel.ways(true)?, kernel.ways(false)?];
    let routes = ways.iter().flat_map(|ways| &ways.routes).filter(|way| way.advertised);
    let devices: BTreeSet<u32> = routes.flat_map(|way| &way.hops).map(|(dev, _)| *dev).collect();
    for index in devices {
        let Some(link) = kernel.link_by_index(index)? else { continue };
        // A veth that has all it has by advertisements may be a node's uplink, or a container's end.
        let of_underlay = underlay.devices().contains(&link.dev.name) && !link.is("bridge");
        if !of_underlay && !outlets::is_one(kernel.observing(), &ways, &link)? {
            continue;
        }
        let key = format!("net/ipv6/conf/{}/accept_ra", link.dev.name);
        if kernel.sysctl(&key)?.as_deref() == Some("1") {
            kernel.set_sysctl(&key, "2")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use flatnet_conf::RangeFile;

    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{LinkKind, Way};

    fn way(dst: &str, dev: u32, advertised: bool) -> Way {
        let hops = vec![(dev, dst.ends_with("/0"))];
        Way { dst: dst.parse().unwrap(), table: 254, hops, advertised }
    }

    /// lo, eth0 with the VTEP's address, eth1 toward the world, docker0 toward its containers; eth0
    /// and eth1 have routes by router advertisements.
    fn kernel() -> Fake {
        let mut fake = Fake::default();
        for (name, addresses) in
            [("lo", &[][..]), ("eth0", &["192.0.2.1/24"]), ("eth1", &[]), ("docker0", &[])]
        {
            let kind = if name == "docker0" { "bridge" } else { "" };
            let index = fake.add(name, 1500, addresses, LinkKind::Other(kind.into()));
            match name {
                "eth0" => fake.ways.push(way("::/0", index, true)),
                "eth1" => {
                    fake.ways.push(way("0.0.0.0/0", index, false));
                    fake.ways.push(way("fd00:7::/64", index, true));
                }
                "docker0" => {
                    fake.ways.push(way("172.17.0.0/16", index, false));
                    fake.ways.push(way("fd00:17::/64", index, false));
                    // A container there has made itself the router.
                    fake.ways.push(way("::/0", index, true));
                }
                _ => {}
            }
            for (key, value) in [("ipv4", "forwarding"), ("ipv6", "accept_ra")]
                .map(|(family, setting)| (format!("net/{family}/conf/{name}/{setting}"), setting))
            {
                fake.sysctls.insert(key, if value == "accept_ra" { "1" } else { "0" }.into());
            }
        }
        fake.sysctls.insert("net/ipv6/conf/eth1/accept_ra".into(), "0".into());
        fake.sysctls.insert(ALL_V6.into(), "0".into());
        fake.sysctls.insert(HEED_PATH_MTU.into(), "0".into());
        fake
    }

    fn enabled(kernel: &mut Fake, range: &str) -> Vec<String> {
        enabled_on("192.0.2.1", kernel, range)
    }

    fn enabled_on(vtep: &str, kernel: &mut Fake, range: &str) -> Vec<String> {
        let text = format!(
            r#"{{"version":1,"nodes":[{{"name":"a","vtep":"{vtep}","ranges":["{range}"]}}]}}"#
        );
        let file = RangeFile::parse(FilePath::new("t.json"), text.as_bytes()).unwrap();
        let underlay = Underlay::look(kernel, &file, &file.nodes[0]).unwrap();
        enable(kernel, &underlay, &file.nodes[0]).unwrap();
        kernel.log.clone()
    }

    #[test]
    fn ipv4_is_forwarded_from_uplinks_only() {
        assert_eq!(
            enabled(&mut kernel(), "10.1.1.0/24"),
            [
                "sysctl -w net/ipv4/conf/eth0/forwarding=1",
                "sysctl -w net/ipv4/conf/eth1/forwarding=1",
            ]
        );
    }

    #[test]
    fn path_mtus_are_heeded_where_no_router_fragments() {
        let heeded = "sysctl -w net/ipv4/ip_forward_use_pmtu=1";
        for (vtep, range, expected) in [
            ("192.0.2.1", "10.1.1.0/24", false),
            ("fd00::1", "10.1.1.0/24", true),
            ("fd00::1", "fd00:1::/64", false),
        ] {
            let done = enabled_on(vtep, &mut kernel(), range);
            assert_eq!(done.iter().any(|line| line == heeded), expected, "{vtep} {range}");
        }
    }

    #[test]
    fn an_uplink_keeps_its_router_advertisements() {
        assert_eq!(
            enabled(&mut kernel(), "fd00:1::/64"),
            [
                "sysctl -w net/ipv6/conf/eth0/accept_ra=2",
                "sysctl -w net/ipv6/conf/all/forwarding=1",
            ]
        );
        // An administrator who forwards already has decided about advertisements.
        let mut router = kernel();
        router.sysctls.insert(ALL_V6.into(), "1".into());
        assert_eq!(enabled(&mut router, "fd00:1::/64"), [""; 0]);
    }
}
