//! Who sets which routes in a container.
//!
//! Docker can give two interfaces no route to the same gateway, and all networks of flatnet have the same. So of a container's
//! networks one has Docker's routes, and with them a default route if Docker chooses so; to the others the way is made when
//! Docker has moved the device.

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::NetworkConf;
use ipnetwork::IpNetwork;

use super::inside::Moved;
use super::known::Found;
use super::{Endpoints, Outcome, said};
use crate::error::Error;
use crate::kernel::netns::Netns;
use crate::kernel::{Change, Netlink, Observe as _, Route};
use crate::overlay::gateway::gateway;

/// Behind those of Docker, which has 0 for IPv4, and the kernel's 1024 for IPv6.
const METRIC: u32 = 2048;

/// A route in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Destination.
    pub to: IpNetwork,
    /// Next hop; `None` is on the link.
    pub via: Option<IpAddr>,
}

impl Endpoints {
    /// The gateways are on the link; by them goes what the configuration names, else the pod network, should another
    /// network of the container have the default route.
    pub(super) fn ways(&self, conf: &NetworkConf, gateways: &[IpAddr]) -> Outcome<Vec<Way>> {
        let to = match &conf.routes {
            Some(to) => to.clone(),
            None => self.cluster_cidrs(conf).map_err(|e| e.to_string())?,
        };
        Ok(routes(&to, gateways))
    }

    /// Whether another network of the container whose namespace is to be at this path has Docker's routes.
    pub(super) fn is_routed_otherwise(&self, found: &Found, sandbox: &str) -> Outcome<bool> {
        let beside = |other: &Found| {
            other.record.attachment.sandbox.as_deref() == Some(sandbox)
                && other.key() != found.key()
        };
        let others: Vec<Found> = self.all()?.found.into_iter().filter(beside).collect();
        let mut node = Netlink::open().map_err(|e| e.to_string())?;
        // Of a container that is still to begin the first is asked for first.
        let begun = Netns::open(Path::new(sandbox)).map_err(|e| e.to_string())?.is_some();
        for other in others {
            let end = node.link(&other.record.attachment.veth).map_err(|e| e.to_string())?;
            let Some(end) = end else { continue };
            let is_routed = match Moved::find(&end, Path::new(sandbox)).map_err(said)? {
                Some(mut moved) => by_docker(&mut moved).map_err(said)?,
                None => !begun,
            };
            if is_routed {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an interface has Docker's routes: one to a gateway, and not with the metric of ours.
pub fn by_docker(moved: &mut Moved) -> Result<bool, Error> {
    let gateways = [true, false].map(|ipv4| IpNetwork::from(gateway(ipv4)));
    let index = moved.dev.index;
    let routes = moved.pod.routes(index)?;
    Ok(routes.iter().any(|route| gateways.contains(&route.dst) && route.metric != Some(index)))
}

/// What makes these ways by the device of this index.
pub fn changes(ways: &[Way], index: u32) -> impl Iterator<Item = Change> {
    ways.iter().filter_map(move |way| {
        let (dst, gateway, onlink) = (way.to, way.via, way.via.is_some() && way.to.is_ipv4());
        // A metric of its own for each interface; to the gateway the same as for any other attachment.
        let metric = match gateway {
            Some(_) => METRIC.checked_add(index),
            None if dst.is_ipv4() => Some(index),
            // On the link by its nature.
            None => return None,
        };
        Some(Change::PutRoute(Route { dst, gateway, onlink, source: None, metric }))
    })
}

fn routes(to: &[IpNetwork], gateways: &[IpAddr]) -> Vec<Way> {
    let on_link = gateways.iter().map(|via| Way { to: IpNetwork::from(*via), via: None });
    let by = |to: &IpNetwork| {
        let via = gateways.iter().find(|via| via.is_ipv4() == to.is_ipv4());
        via.map(|via| Way { to: *to, via: Some(*via) })
    };
    on_link.chain(to.iter().filter_map(by)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Way> {
        let to = ["10.244.0.0/16", "fd00:10::/56"].map(|text| text.parse().unwrap());
        routes(&to, &[gateway(true), gateway(false)])
    }

    #[test]
    fn the_gateways_come_before_what_goes_by_them() {
        let way = |to: &str, via: Option<&str>| Way {
            to: to.parse().unwrap(),
            via: via.map(|via| via.parse().unwrap()),
        };
        let expected = [
            way("169.254.1.1/32", None),
            way("fe80::1/128", None),
            way("10.244.0.0/16", Some("169.254.1.1")),
            way("fd00:10::/56", Some("fe80::1")),
        ];
        assert_eq!(all(), expected);
        let to = ["10.244.0.0/16", "fd00:10::/56"].map(|text| text.parse().unwrap());
        assert_eq!(routes(&to, &[gateway(true)]), [expected[0].clone(), expected[2].clone()]);
    }

    #[test]
    fn what_is_not_dockers_is_behind_it() {
        let commands: Vec<String> =
            changes(&all(), 7).map(|change| change.command("eth1")).collect();
        assert_eq!(
            commands,
            [
                "ip route replace 169.254.1.1/32 dev eth1 proto 102 metric 7",
                "ip route replace 10.244.0.0/16 via 169.254.1.1 dev eth1 onlink proto 102 metric 2055",
                "ip route replace fd00:10::/56 via fe80::1 dev eth1 proto 102 metric 2055",
            ]
        );
    }
}
