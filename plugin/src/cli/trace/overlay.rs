//! From the node's routing decision on: to a pod of this node, over the overlay, or out of the
//! cluster; and what the range file says of the other side.

use std::net::IpAddr;

use flatnet_conf::{Node, Range, RangeFile};
use nix::errno::Errno;

use super::fast_path::{self, Onward};
use super::hop::End;
use super::walk::{Stop, Walk};
use crate::attachment::side::Side;
use crate::cli::drift::{Peers, past_other_tables};
use crate::cli::look::Look;
use crate::identity::{overlay_name, route_metric, vtep_mac};
use crate::kernel::{DeadEnd, Decision, Flow, Link, Observe as _, Origin};
use crate::overlay::agent::author;
use crate::overlay::dead_end;
use crate::overlay::outlets;
use crate::overlay::underlay::Place;

/// Whose an address is, as the range file says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// Of this node.
    Own,
    /// Of that peer.
    Peer(Node),
    /// Of the cluster, and of no node.
    NoNode,
    /// Out of the cluster.
    World,
}

fn owner(file: &RangeFile, own: &Node, to: IpAddr) -> Owner {
    let has = |node: &&Node| node.ranges.iter().any(|range| range.contains(to));
    match file.nodes.iter().find(has) {
        Some(node) if node.name == own.name => Owner::Own,
        Some(node) => Owner::Peer(node.clone()),
        None if file.cluster_cidrs.iter().any(|cidr| cidr.contains(to)) => Owner::NoNode,
        None => Owner::World,
    }
}

fn owner_of(walk: &mut Walk<'_>) -> Owner {
    let to = walk.to();
    let site = &walk.look().site;
    owner(site.file(), &site.node, to)
}

/// The node does not know where to send it.
pub fn no_route(walk: &mut Walk<'_>, errno: Errno) -> Stop {
    let to = walk.to();
    match owner_of(walk) {
        Owner::Own => no_pod(to).into(),
        Owner::NoNode => of_no_node(walk, to).into(),
        Owner::World => match dead_end::before(&mut walk.look().kernel, to, None) {
            Ok(Some(end)) => ended("route", &end).into(),
            Ok(None) => {
                let what = format!("the node has no route to {to}: {}", errno.desc());
                let mend = format!(
                    "give the node a route to {to}; if a Service has it, see that kube-proxy runs and the \
                     Service has endpoints"
                );
                End::stops("route", what, mend).into()
            }
            Err(e) => e.into(),
        },
        Owner::Peer(peer) => {
            let metric = route_metric(walk.look().site.vni(), peer.vtep);
            let range = peer.ranges.iter().map(Range::subnet).find(|subnet| subnet.contains(to));
            let ours = range.map(|subnet| (subnet, metric));
            match dead_end::before(&mut walk.look().kernel, to, ours) {
                Ok(Some(end)) => ended("route", &end).into(),
                Ok(None) => {
                    let (name, errno) = (&peer.name, errno.desc());
                    walk.drifted(
                        "route",
                        format!("the node has no route to {to} of {name}: {errno}"),
                    )
                }
                Err(e) => e.into(),
            }
        }
    }
}

/// Another program's route ends it.
fn ended(at: &'static str, end: &DeadEnd) -> End {
    let words = dead_end::words(end);
    let what = format!("another program's route ends it: {words}");
    End::stops(at, what, format!("remove that route: ip route del {words}"))
}

fn no_pod(to: IpAddr) -> End {
    End::stops(
        "route",
        format!("no pod of this node has {to}"),
        "`flatnet list` shows who has what",
    )
}

fn of_no_node(walk: &Walk<'_>, to: IpAddr) -> End {
    let what = format!("{to} is in the cluster's ranges, but in no node's");
    End::stops("route", what, author(walk.conf()).unheld("the range file"))
}

/// Follows it by a device and a next hop.
pub fn go(walk: &mut Walk<'_>, link: &Link, gateway: Option<IpAddr>) -> Result<End, Stop> {
    let (to, dev) = (walk.to(), link.dev.name.clone());
    let via = gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
    if let Some(lease) = walk.neighbour_pod().filter(|lease| lease.attachment.veth == dev) {
        walk.passes("route", format!("{to} dev {dev}"));
        let side = Side::look(&mut walk.look().kernel, &dev)?;
        let known = side.is_some_and(|side| side.link.up && side.neighbour(to).is_some());
        if !known {
            let what = format!("{dev} is down or has no entry for {to}");
            return Err(walk.spoiled(&lease.attachment, "neighbour", what));
        }
        fast_path::tell(walk, &Onward::Pod(&dev))?;
        return Ok(End::Arrives(format!("arrives at {}", lease.attachment)));
    }
    let is_overlay = dev == overlay_name(walk.look().site.vni());
    let peer = match (owner_of(walk), is_overlay) {
        (Owner::Peer(peer), _) => peer,
        (Owner::Own, _) => return Err(no_pod(to).into()),
        (Owner::NoNode, _) => return Err(of_no_node(walk, to).into()),
        (Owner::World, true) => {
            return Err(walk.drifted("route", format!("{to} is no pod's, but goes by {dev}")));
        }
        (Owner::World, false) => {
            walk.passes("route", format!("{via}dev {dev}"));
            lets_answers_in(walk, link)?;
            let source = walk.leaves_as();
            return Ok(End::Arrives(format!("leaves the cluster by {dev}, {source}")));
        }
    };
    let direct = !is_overlay && gateway == Some(peer.vtep);
    if !is_overlay && !direct {
        let Look { site, drift, .. } = walk.look();
        let lacking = Peers::of(site.file(), &site.node).of_changes(drift.changes.changes());
        if lacking.contains(&peer.name[..]) {
            let what = format!("the route to {} is missing: it goes {via}dev {dev}", peer.name);
            return Err(walk.drifted("route", what));
        }
        let what =
            format!("another program's route takes it: {via}dev {dev}, not to {}", peer.name);
        let past = past_other_tables(walk.look().site.file(), to.is_ipv6());
        let mend = format!(
            "remove that route (`ip route get fibmatch {to}` shows it); if a rule leads to its table: \
             {past}"
        );
        return Err(End::stops("route", what, mend).into());
    }
    if is_overlay && !gateway.is_some_and(|gateway| peer.vtep_addresses().contains(&gateway)) {
        return Err(walk.drifted("route", format!("{via}dev {dev} does not lead to {}", peer.name)));
    }
    walk.passes("route", format!("{via}dev {dev}, MTU {}", link.mtu));
    if let (true, Some(gateway)) = (is_overlay, gateway) {
        encapsulate(walk, link, gateway, &peer)?;
    }
    // Without encapsulation the packet itself goes there.
    let flow = if is_overlay { outer(walk)? } else { Flow::default() };
    underlay(walk, peer.vtep, flow)?;
    fast_path::tell(walk, &if is_overlay { Onward::Overlay(&dev) } else { Onward::Direct })?;
    Ok(other_side(walk, &peer))
}

/// Answers from out of the cluster come in by the same device. (IPv6 forwards by all or none.)
fn lets_answers_in(walk: &mut Walk<'_>, link: &Link) -> Result<(), Stop> {
    if walk.to().is_ipv6() {
        return Ok(());
    }
    let kernel = &mut walk.look().kernel;
    let vrf = outlets::vrf_of(kernel, link)?;
    let by = &vrf.as_ref().unwrap_or(link).dev.name;
    let key = format!("net/ipv4/conf/{by}/forwarding");
    if kernel.sysctl(&key)?.is_none_or(|value| value == "1") {
        return Ok(());
    }
    let command = format!("sysctl -w {key}=1");
    let what = format!("answers that come in by {by} are not forwarded");
    if walk.look().drift.changes.others().any(|words| words == command) {
        return Err(walk.drifted("forwarding", what));
    }
    // It leads to this machine's own containers.
    let mend = format!("to let this node route for what is behind {by}: {command}");
    Err(End::stops("forwarding", what, mend).into())
}

/// The neighbour entry and the FDB entry of a peer.
fn encapsulate(walk: &mut Walk<'_>, link: &Link, gateway: IpAddr, peer: &Node) -> Result<(), Stop> {
    let wanted = vtep_mac(walk.look().site.vni(), peer.vtep);
    let dev = link.dev.index;
    let kernel = &mut walk.look().kernel;
    let (neighbours, fdb) = (kernel.neighbours(dev)?, kernel.fdb(dev)?);
    if !link.up {
        return Err(walk.drifted("overlay", format!("{} is down", link.dev.name)));
    }
    match neighbours.iter().find(|entry| entry.address == gateway).map(|entry| entry.mac) {
        Some(mac) if mac == wanted => walk.passes("neighbour", format!("{gateway} is at {mac}")),
        Some(mac) => {
            let what = format!("{gateway} is taken for {mac}, but {} has {wanted}", peer.name);
            return Err(walk.drifted("neighbour", what));
        }
        None => return Err(walk.drifted("neighbour", format!("there is no entry for {gateway}"))),
    }
    match fdb.iter().find(|entry| entry.mac == wanted).map(|entry| entry.vtep) {
        Some(vtep) if vtep == peer.vtep => {
            let (vni, port) = (walk.look().site.vni(), walk.look().site.file().port);
            walk.passes("FDB", format!("{wanted} is behind {vtep}, VNI {vni}, UDP port {port}"));
            Ok(())
        }
        Some(vtep) => {
            let what = format!(
                "{wanted} is taken to be behind {vtep}, but {} is {}",
                peer.name, peer.vtep
            );
            Err(walk.drifted("FDB", what))
        }
        None => {
            Err(walk.drifted("FDB", format!("there is no entry for {wanted} of {}", peer.name)))
        }
    }
}

/// How the kernel chooses the way of outer packets; they end where nothing has their source.
fn outer(walk: &mut Walk<'_>) -> Result<Flow, Stop> {
    let Look { kernel, site, .. } = walk.look();
    let place = Place::look(kernel, site.file(), &site.node)?;
    if place.own.is_none() {
        let what = format!("the VTEP of this node, {}, is on no device here", site.node.vtep);
        return Err(End::stops("underlay", what, "`flatnet doctor` says what to correct").into());
    }
    Ok(place.flow)
}

/// The way to the peer's VTEP.
fn underlay(walk: &mut Walk<'_>, vtep: IpAddr, flow: Flow) -> Result<(), Stop> {
    let kernel = &mut walk.look().kernel;
    let (dev, gateway) = match kernel.decide(vtep, Origin::Sent(flow))? {
        Decision::Send { dev, gateway } => (kernel.link_by_index(dev)?, gateway),
        Decision::Local => {
            let what = format!("the peer's VTEP {vtep} is an address of this node");
            return Err(End::stops("underlay", what, "`flatnet doctor` says more").into());
        }
        Decision::Drop(errno) => {
            if let Some(end) = dead_end::before(kernel, vtep, None)? {
                return Err(ended("underlay", &end).into());
            }
            let what = format!("there is no route to the VTEP {vtep}: {}", errno.desc());
            return Err(
                End::stops("underlay", what, format!("give the node a route to {vtep}")).into()
            );
        }
    };
    let via = gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
    let dev = dev.map_or_else(String::new, |link| format!("{}, MTU {}", link.dev.name, link.mtu));
    walk.passes("underlay", format!("{vtep} {via}dev {dev}"));
    Ok(())
}

/// What cannot be seen from here.
fn other_side(walk: &mut Walk<'_>, peer: &Node) -> End {
    let to = walk.to();
    let range = peer.ranges.iter().find(|range| range.contains(to));
    let subnet = range.map(|range| range.subnet().to_string()).unwrap_or_default();
    let name = &peer.name;
    walk.passes("range file", format!("{name} has {subnet} and VTEP {}", peer.vtep));
    if peer.vtep_addresses().contains(&to) {
        let own = "whose own address on the overlay it is (`flatnet probe` asks it)";
        return End::Arrives(format!("leaves for {name}, {own}"));
    }
    End::Arrives(match range.is_some_and(|range| range.gives(to)) {
        true => format!(
            "leaves for {name}: arrives if that answers (`flatnet probe`) and a pod there has {to} \
             (`flatnet list` on {name})"
        ),
        false => format!("leaves for {name}, which gives {to} to no pod"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_address_is() {
        let text = r#"{"version":1,"clusterCIDRs":["10.1.0.0/16"],"nodes":[
            {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24"]},
            {"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24"]}]}"#;
        let file = RangeFile::parse(std::path::Path::new("t.json"), text.as_bytes()).unwrap();
        let of = |to: &str| owner(&file, &file.nodes[0], to.parse().unwrap());
        assert_eq!(of("10.1.1.7"), Owner::Own);
        assert_eq!(of("10.1.2.7"), Owner::Peer(file.nodes[1].clone()));
        assert_eq!(of("10.1.9.7"), Owner::NoNode);
        assert_eq!(of("8.8.8.8"), Owner::World);
    }
}
