//! CHECK: is the attachment as ADD made it?
//!
//! Compares what is ours with prevResult, and only what is ours: a later plugin of the chain may
//! have added routes, moved them to another table, or set another MTU, and its result says so.

use std::net::IpAddr;

use flatnet_conf::{AddResult, Interface, Mac, NetworkConf};
use flatnet_ipam::Key;
use ipnetwork::IpNetwork;

use super::pod_netns;
use super::request::Call;
use crate::attachment::books;
use crate::attachment::side::Side;
use crate::attachment::unleased;
use crate::error::Error;
use crate::identity::{overlay_name, veth_name, vtep_mac};
use crate::kernel::{Change, Link, LinkKind, Netlink, Observe, ReversePath, Vxlan};
use crate::overlay::gateway::{gateway, gateways};
use crate::overlay::retire;
use crate::overlay::stamp::Stamp;

/// Succeeds if everything is in place.
///
/// # Errors
/// Code 105 with each object that is not as it should be; 7 without prevResult; 8 if the pod's
/// namespace is gone.
pub fn run(call: &Call) -> Result<(), Error> {
    let Call { conf, invocation, .. } = call;
    let result = conf.prev_result.as_ref().ok_or_else(|| Error::Configuration {
        reason: "CHECK needs prevResult, the result of the ADD; the runtime keeps it".into(),
    })?;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let netns = pod_netns::open(invocation, own)?;
    let key = Key::new(&conf.name, &invocation.container_id, &invocation.ifname);

    let addresses = match call.delegate()? {
        Some(delegate) => {
            delegate.run("CHECK")?;
            pod_addresses(result, &invocation.ifname)
        }
        None => match books::lease(conf, own, &key)? {
            Some(lease) => lease.addresses,
            // It is made again by the next that looks for it; that is nothing about the pod.
            None => routed(&mut node, conf, &veth_name(&key))?.ok_or_else(|| {
                let problem = format!("lease: {} has none on this node", invocation.container_id);
                Error::NotAsMade { problems: vec![problem] }
            })?,
        },
    };
    let expected = Expected::new(result, &invocation.ifname, &veth_name(&key), &addresses);
    let mut problems = expected.missing_addresses();
    problems.extend(overlay_problem(&mut node, conf, own)?);
    let side = Side::look_on_node(&mut node, &expected.veth, &addresses)?;
    problems.extend(expected.node_problems(side.as_ref()));
    let mut pod = Netlink::open_in(netns)?;
    let gateways = gateways(&addresses);
    let side = Side::look_in_pod(&mut pod, &expected.ifname, &gateways)?;
    problems.extend(expected.pod_problems(side.as_ref()));
    if problems.is_empty() { Ok(()) } else { Err(Error::NotAsMade { problems }) }
}

/// The addresses that prevResult gives to the pod's interface.
fn pod_addresses(result: &AddResult, ifname: &str) -> Vec<IpAddr> {
    let interface = result.interfaces.iter().position(|i| i.sandbox.is_some() && i.name == ifname);
    let ours = result.ips.iter().filter(|ip| ip.interface == interface && interface.is_some());
    ours.map(|ip| ip.address.ip()).collect()
}

/// The addresses of an attachment that stands finished, by the routes that lead to it.
fn routed(
    node: &mut dyn Observe,
    conf: &NetworkConf,
    veth: &str,
) -> Result<Option<Vec<IpAddr>>, Error> {
    let end: Vec<_> = node.link(veth)?.into_iter().collect();
    let record = unleased::records(node, &conf.name, &end)?.pop();
    Ok(record.map(|record| record.addresses).filter(|addresses| !addresses.is_empty()))
}

/// What is wrong with the network's overlay device. The kernel says which that is: what was last
/// written down may be older, or illegible, and says nothing about the pod.
fn overlay_problem(
    node: &mut dyn Observe,
    conf: &NetworkConf,
    own: u64,
) -> Result<Option<String>, Error> {
    let devices = retire::devices(node, &conf.name)?;
    let problems: Vec<_> = devices.values().map(device_problem).collect();
    Ok(match problems.is_empty() {
        true => {
            let name = Stamp::find(conf, own).map(|stamp| overlay_name(stamp.vni));
            let name = name.unwrap_or_else(|| format!("the overlay of network {}", conf.name));
            Some(format!("{name}: there is no such device on the node"))
        }
        // While the network gets another VNI it has two.
        false if problems.contains(&None) => None,
        false => problems.into_iter().flatten().next(),
    })
}

fn device_problem(link: &Link) -> Option<String> {
    let name = &link.dev.name;
    if !link.up {
        return Some(format!("{name}: is down"));
    }
    let LinkKind::Vxlan(Vxlan { vni, local: Some(vtep), .. }) = link.kind else { return None };
    let mac = vtep_mac(vni, vtep);
    let differs = link.mac != Some(mac);
    differs.then(|| format!("{name}: has MAC {}, should have {mac}", shown(link.mac)))
}

/// What prevResult and the lease say.
struct Expected<'a> {
    ifname: String,
    veth: String,
    pod_mac: Option<Mac>,
    node_mac: Option<Mac>,
    addresses: &'a [IpAddr],
    result: &'a AddResult,
}

impl<'a> Expected<'a> {
    fn new(result: &'a AddResult, ifname: &str, veth: &str, addresses: &'a [IpAddr]) -> Self {
        let mac = |interface: Option<&Interface>| interface.and_then(|i| i.mac.parse().ok());
        let interfaces = &result.interfaces;
        let in_pod = interfaces.iter().find(|i| i.sandbox.is_some() && i.name == ifname);
        let on_node = interfaces.iter().find(|i| i.sandbox.is_none() && i.name == veth);
        Self {
            ifname: ifname.into(),
            veth: veth.into(),
            pod_mac: mac(in_pod),
            node_mac: mac(on_node),
            addresses,
            result,
        }
    }

    /// Addresses that prevResult does not tell.
    fn missing_addresses(&self) -> Vec<String> {
        let told =
            |address: &&IpAddr| self.result.ips.iter().any(|ip| ip.address.ip() == **address);
        let untold = self.addresses.iter().filter(|address| !told(address));
        untold
            .map(|address| format!("prevResult: lacks {address}, which the attachment has"))
            .collect()
    }

    fn node_problems(&self, side: Option<&Side>) -> Vec<String> {
        let name = &self.veth;
        let Some(side) = side else {
            return vec![format!("{name}: there is no such device on the node")];
        };
        let mut problems = link_problems(name, &side.link, self.node_mac);
        for address in self.addresses {
            let host = IpNetwork::from(*address);
            if !side.routes.iter().any(|route| route.dst == host) {
                problems.push(format!("{name}: the node has no route to {host} on it"));
            }
            problems.extend(neighbour_problem(name, *address, side, self.pod_mac));
        }
        let forwards = Change::Forward(ReversePath::Strict);
        if self.addresses.iter().any(IpAddr::is_ipv4) && !side.lacks(vec![forwards]).is_empty() {
            let what = "forwarding and rp_filter of the device are not both 1";
            problems.push(format!("{name}: {what}; `flatnet sync` sets them"));
        }
        problems
    }

    fn pod_problems(&self, side: Option<&Side>) -> Vec<String> {
        let name = &self.ifname;
        let Some(side) = side else {
            return vec![format!("{name}: there is no such interface in the pod")];
        };
        let mut problems = link_problems(name, &side.link, self.pod_mac);
        for address in self.addresses {
            if !side.addresses.iter().any(|has| has.ip() == *address) {
                problems.push(format!("{name}: lacks address {address}"));
            }
            let gateway = gateway(address.is_ipv4());
            problems.extend(neighbour_problem(name, gateway, side, self.node_mac));
        }
        problems.extend(self.route_problems(side));
        problems
    }

    /// Routes of prevResult through our gateway that are in no table of the pod, nor covered by a
    /// wider one through it: source-based routing leaves a default route in a table of its own.
    fn route_problems(&self, side: &Side) -> Vec<String> {
        let name = &self.ifname;
        let ours = self.result.routes.iter().filter(|route| {
            let family = gateway(route.dst.is_ipv4());
            route.gw == Some(family)
                && self.addresses.iter().any(|a| a.is_ipv4() == family.is_ipv4())
        });
        ours.filter(|route| !side.routes_to(route.dst, route.gw))
            .map(|route| {
                let gateway = route.gw.map(|gw| gw.to_string()).unwrap_or_default();
                format!("{name}: the pod has no route to {} via {gateway}", route.dst)
            })
            .collect()
    }
}

fn link_problems(name: &str, link: &Link, mac: Option<Mac>) -> Vec<String> {
    let mut problems = Vec::new();
    if !link.up {
        problems.push(format!("{name}: is down"));
    }
    if mac.is_some() && link.mac != mac {
        let (has, should) = (shown(link.mac), shown(mac));
        problems.push(format!("{name}: has MAC {has}, prevResult says {should}"));
    }
    problems
}

fn neighbour_problem(name: &str, of: IpAddr, side: &Side, mac: Option<Mac>) -> Option<String> {
    match side.neighbour(of) {
        None => Some(format!("{name}: there is no permanent neighbour entry for {of} on it")),
        has if mac.is_some() && has != mac => Some(format!(
            "{name}: the neighbour entry for {of} has MAC {}, the other end has {}",
            shown(has),
            shown(mac)
        )),
        Some(_) => None,
    }
}

fn shown(mac: Option<Mac>) -> String {
    mac.map_or_else(|| "none".into(), |mac| mac.to_string())
}

#[cfg(test)]
mod tests;
