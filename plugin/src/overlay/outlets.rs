//! The devices by which packets of pods may leave the machine, as its routes say, and by which the
//! answers come in. These forward; the others stay closed, or the node would become a router for
//! containers and virtual machines that its administrator has not made it one for.
//!
//! Every device that a unicast route leads by counts, of each table that a rule leads to, each next
//! hop of an equal-cost route, and also where another route is preferred now. Not those that lead
//! to what runs on this machine:
//! * a bridge behind which the routes know no router (`docker0`, `virbr0`, `cni0`), unless one of its
//!   ports is neither a veth nor a tap: with a network card in it a bridge is an uplink;
//! * a veth or tap with routes to single hosts only: the pods of another plugin. With a route to a
//!   network it may be the uplink of a node that is a container itself.
//!
//! A tunnel without link-layer addresses (tun, WireGuard) has no container behind it, and a VPN may
//! have a route to each of its hosts. A router behind a device settles it for any kind: that route
//! says that packets are to leave there. What a router advertisement says does not, for a container may
//! have sent it; nor does a link-local network, which is on every device.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{Link, LinkKind, Observe, Ways};

/// How far the routes by a device lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// To single hosts on the link.
    Hosts,
    /// To a network on the link.
    Network,
    /// To a router.
    Router,
}

/// The devices that lead out of the machine, by index. Of one in a VRF also the VRF: what comes in
/// by the one comes in by the other.
///
/// # Errors
/// The kernel cannot be asked.
pub fn look(kernel: &mut dyn Observe, ways: &Ways) -> Result<BTreeMap<u32, Link>, Error> {
    let mut outlets = BTreeMap::new();
    for (index, reach) in reaches(ways) {
        let Some(link) = kernel.link_by_index(index)? else { continue };
        if leads_out(kernel, &link, reach)? {
            outlets.extend(vrf_of(kernel, &link)?.map(|vrf| (vrf.dev.index, vrf)));
            outlets.insert(index, link);
        }
    }
    Ok(outlets)
}

/// The VRF that a device is in, or is itself.
///
/// # Errors
/// The kernel cannot be asked.
pub fn vrf_of(kernel: &mut dyn Observe, link: &Link) -> Result<Option<Link>, Error> {
    if link.is("vrf") {
        return Ok(Some(link.clone()));
    }
    Ok(match link.master {
        Some(master) => kernel.link_by_index(master)?.filter(|master| master.is("vrf")),
        None => None,
    })
}

/// Whether a device leads out of the machine, by the routes of all families.
///
/// # Errors
/// The kernel cannot be asked.
pub fn is_one(kernel: &mut dyn Observe, ways: &[Ways], link: &Link) -> Result<bool, Error> {
    let reaches = ways.iter().filter_map(|ways| reaches(ways).remove(&link.dev.index));
    leads_out(kernel, link, reaches.max().unwrap_or(Reach::Hosts))
}

fn reaches(ways: &Ways) -> BTreeMap<u32, Reach> {
    let mut reaches = BTreeMap::new();
    for way in ways.routes.iter().filter(|way| ways.tables.contains(&way.table)) {
        let host = way.dst.prefix() == if way.dst.is_ipv4() { 32 } else { 128 };
        let link_local = matches!(way.dst, IpNetwork::V6(dst) if dst.ip().is_unicast_link_local());
        for (dev, gateway) in &way.hops {
            let reach = match (gateway, host || link_local || way.advertised) {
                (true, _) if !way.advertised => Reach::Router,
                (_, true) => Reach::Hosts,
                (_, false) => Reach::Network,
            };
            let most = reaches.entry(*dev).or_insert(reach);
            *most = reach.max(*most);
        }
    }
    reaches
}

fn leads_out(kernel: &mut dyn Observe, link: &Link, reach: Reach) -> Result<bool, Error> {
    let ours = link.alias.as_ref().is_some_and(|alias| alias.starts_with("flatnet:"));
    if link.dev.name == "lo" || ours {
        return Ok(false);
    }
    if reach == Reach::Router {
        return Ok(true);
    }
    if link.is("bridge") {
        return Ok(kernel.ports(link.dev.index)?.iter().any(|port| !is_local_end(port)));
    }
    Ok(reach == Reach::Network || !is_local_end(link))
}

/// Whether a container or a virtual machine of this machine may be all that is behind a device.
fn is_local_end(link: &Link) -> bool {
    // A tap has a MAC, a tun has none; the kernel has one word for both.
    link.kind == LinkKind::Veth || link.is("tun") && link.mac.is_some()
}

#[cfg(test)]
mod tests {
    use flatnet_conf::Mac;

    use super::*;
    use crate::kernel::Way;
    use crate::kernel::fake::Fake;

    fn other(kind: &str) -> LinkKind {
        LinkKind::Other(kind.into())
    }

    fn way(dst: &str, table: u32, hops: &[(u32, bool)]) -> Way {
        Way { dst: dst.parse().unwrap(), table, hops: hops.to_vec(), advertised: false }
    }

    fn names(kernel: &mut Fake, routes: Vec<Way>) -> Vec<String> {
        let ways = Ways { rules: Vec::new(), routes, tables: [52, 254].into() };
        look(kernel, &ways).unwrap().into_values().map(|link| link.dev.name).collect()
    }

    #[test]
    fn where_packets_leave_the_machine() {
        let (host, network, all) = ("10.9.0.7/32", "10.9.0.0/24", "0.0.0.0/0");
        let tap = Some(Mac([2, 0, 0, 0, 0, 1]));
        // Kind, MAC, destination, whether by a router, and whether it leads out.
        for (kind, mac, dst, gateway, out) in [
            (other(""), None, network, false, true),
            (other(""), None, host, false, true),
            (other("a kind of next year"), None, host, false, true),
            (LinkKind::Veth, None, network, false, true),
            (LinkKind::Veth, None, host, false, false),
            (LinkKind::Veth, None, host, true, true),
            (LinkKind::Veth, None, all, false, true),
            (other("tun"), tap, host, false, false),
            (other("tun"), None, host, false, true),
            (other("wireguard"), None, host, false, true),
            (other("bridge"), tap, network, false, false),
            (other("bridge"), tap, all, true, true),
            (other("bridge"), tap, "fd00::/64", false, false),
        ] {
            let mut kernel = Fake::default();
            let index = kernel.add("dev", 1500, &[], kind.clone());
            kernel.links.get_mut("dev").unwrap().link.mac = mac;
            let found = names(&mut kernel, vec![way(dst, 254, &[(index, gateway)])]);
            assert_eq!(found.len(), usize::from(out), "{kind:?} {mac:?} {dst} {gateway}");
        }
    }

    /// A router that an administrator has set is one; a container may advertise itself, and a network.
    #[test]
    fn what_is_advertised_does_not_make_an_uplink() {
        for (kind, dst, gateway, advertised, out) in [
            (other("bridge"), "::/0", true, false, true),
            (other("bridge"), "::/0", true, true, false),
            (LinkKind::Veth, "::/0", true, true, false),
            (LinkKind::Veth, "fd00:9::/64", false, true, false),
            (LinkKind::Veth, "fd00:9::/64", false, false, true),
            (LinkKind::Veth, "fe80::/64", false, false, false),
            (other(""), "::/0", true, true, true),
        ] {
            let mut kernel = Fake::default();
            let index = kernel.add("dev", 1500, &[], kind.clone());
            let advertised = Way { advertised, ..way(dst, 254, &[(index, gateway)]) };
            let found = names(&mut kernel, vec![advertised.clone()]);
            assert_eq!(found.len(), usize::from(out), "{kind:?} {advertised:?}");
            // What else leads by the device decides.
            let network = way("10.9.0.0/24", 254, &[(index, false)]);
            let ways = [vec![network], vec![advertised]].map(|routes| Ways {
                rules: Vec::new(),
                routes,
                tables: [254].into(),
            });
            let link = kernel.links["dev"].link.clone();
            let bridge = link.is("bridge");
            assert_eq!(is_one(&mut kernel, &ways, &link).unwrap(), out || !bridge, "{kind:?}");
        }
    }

    #[test]
    fn a_bridge_with_a_network_card_in_it_is_an_uplink() {
        for (kind, mac, out) in [
            (LinkKind::Veth, None, false),
            (other("tun"), Some(Mac([2, 0, 0, 0, 0, 1])), false),
            (other(""), Some(Mac([2, 0, 0, 0, 0, 1])), true),
            (other("bond"), Some(Mac([2, 0, 0, 0, 0, 1])), true),
        ] {
            let mut kernel = Fake::default();
            let bridge = kernel.add("br0", 1500, &[], other("bridge"));
            kernel.add("veth1", 1500, &[], LinkKind::Veth);
            kernel.add("port", 1500, &[], kind.clone());
            for port in ["veth1", "port"] {
                kernel.links.get_mut(port).unwrap().link.master = Some(bridge);
            }
            kernel.links.get_mut("port").unwrap().link.mac = mac;
            let found = names(&mut kernel, vec![way("10.9.0.0/24", 254, &[(bridge, false)])]);
            assert_eq!(found.len(), usize::from(out), "{kind:?}");
        }
    }

    #[test]
    fn every_next_hop_of_every_table_in_use_counts() {
        let mut kernel = Fake::default();
        let [lo, a, b, c, d] =
            ["lo", "a", "b", "c", "d"].map(|n| kernel.add(n, 1500, &[], other("")));
        kernel.links.get_mut("d").unwrap().link.alias = Some("flatnet:pods/x".into());
        let routes = vec![
            way("0.0.0.0/0", 254, &[(a, true), (b, true)]),
            way("10.9.0.0/24", 52, &[(c, false), (d, false)]),
            way("127.0.0.0/8", 254, &[(lo, false)]),
        ];
        assert_eq!(names(&mut kernel, routes), ["a", "b", "c"]);
        let unused = vec![way("10.9.0.0/24", 53, &[(c, false)])];
        assert_eq!(names(&mut kernel, unused), [""; 0], "no rule leads to that table");
    }

    #[test]
    fn the_vrf_of_an_outlet_is_one() {
        let mut kernel = Fake::default();
        let vrf = kernel.add("blue", 65_536, &[], other("vrf"));
        let eth0 = kernel.add("eth0", 1500, &[], other(""));
        kernel.links.get_mut("eth0").unwrap().link.master = Some(vrf);
        let route = way("10.9.0.0/24", 254, &[(eth0, false)]);
        assert_eq!(names(&mut kernel, vec![route]), ["blue", "eth0"]);
    }
}
