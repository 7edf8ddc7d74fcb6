//! Letting packets through the node: forwarding is switched on where it is needed, and only there.
//!
//! IPv4 looks at the device that a packet comes in by. Ours get their setting with their other
//! attributes ([`crate::kernel::Change::Forward`]); the uplinks, by which requests to published
//! ports and answers from outside come in, get it here; no other device becomes a router's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_conf::Node;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::underlay::Underlay;

const ALL_V6: &str = "net/ipv6/conf/all/forwarding";
/// Whether forwarded IPv4 packets heed what the kernel has found out about a path's MTU. (Forwarded
/// IPv6 packets always do.)
const HEED_PATH_MTU: &str = "net/ipv4/ip_forward_use_pmtu";

/// Addresses that nobody has (RFC 5737, RFC 3849): the way to them is the way to the world.
const NOBODY: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Switches on what the pods of a node need beyond our own devices.
///
/// # Errors
/// A setting cannot be read or written.
pub fn enable(kernel: &mut dyn Kernel, underlay: &Underlay, node: &Node) -> Result<(), Error> {
    let has = |ipv6| node.ranges.iter().any(|range| range.subnet().is_ipv6() == ipv6);
    if has(false) {
        for uplink in uplinks(kernel, underlay)? {
            if let Some(link) = kernel.link_by_index(uplink)?.filter(|link| link.dev.name != "lo") {
                kernel.set_sysctl(&format!("net/ipv4/conf/{}/forwarding", link.dev.name), "1")?;
            }
        }
        if node.vtep.is_ipv6() {
            // No router fragments the outer packets then; the pods must hear what a narrow hop carries.
            kernel.set_sysctl(HEED_PATH_MTU, "1")?;
        }
    }
    if has(true) && kernel.sysctl(ALL_V6)?.is_some_and(|now| now != "1") {
        keep_router_advertisements(kernel)?;
        // IPv6 forwards for all devices or none (net/ipv6/ip6_output.c, ip6_forward).
        kernel.set_sysctl(ALL_V6, "1")?;
    }
    Ok(())
}

/// The devices toward the peers and the world, and the one with the VTEP's address, by index.
fn uplinks(kernel: &mut dyn Kernel, underlay: &Underlay) -> Result<BTreeSet<u32>, Error> {
    let world = kernel.paths(&NOBODY)?;
    let paths =
        underlay.peers.iter().filter_map(|(_, path)| *path).chain(world.into_iter().flatten());
    Ok(paths.map(|path| path.dev).chain(underlay.own).collect())
}

/// A host takes router advertisements, a router does not: a node that has its default route from
/// one would lose it as soon as it forwards. `accept_ra=2` means "even when forwarding"; it is set
/// on the devices that have taken them so far.
fn keep_router_advertisements(kernel: &mut dyn Kernel) -> Result<(), Error> {
    for link in kernel.links()?.iter().filter(|link| link.dev.name != "lo") {
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
    use crate::kernel::{LinkKind, Path};

    /// lo, eth0 with the VTEP's address, eth1 toward the world, docker0 toward nobody.
    fn kernel() -> Fake {
        let mut fake = Fake::default();
        for (name, addresses) in
            [("lo", &[][..]), ("eth0", &["192.0.2.1/24"]), ("eth1", &[]), ("docker0", &[])]
        {
            let index = fake.add(name, 1500, addresses, LinkKind::Other(String::new()));
            if name == "eth1" {
                fake.paths.insert(NOBODY[0], Path { dev: index, mtu: None, on_link: true });
            }
            for (key, value) in [("ipv4", "forwarding"), ("ipv6", "accept_ra")]
                .map(|(family, setting)| (format!("net/{family}/conf/{name}/{setting}"), setting))
            {
                fake.sysctls.insert(key, if value == "accept_ra" { "1" } else { "0" }.into());
            }
        }
        fake.sysctls.insert("net/ipv6/conf/eth1/accept_ra".into(), "0".into());
        fake.sysctls.insert(ALL_V6.into(), "0".into());
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
                "sysctl -w net/ipv6/conf/docker0/accept_ra=2",
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
