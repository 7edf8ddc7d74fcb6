//! One end of an attachment's veth pair as it stands, and what it lacks.

use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{Change, Link, Neighbour, Observe, Route, Settings};

/// A device and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The device.
    pub link: Link,
    /// Its settings.
    pub settings: Settings,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Routes over it, of any program and in any table.
    pub routes: Vec<Route>,
    /// Our permanent neighbour entries.
    pub neighbours: Vec<Neighbour>,
}

impl Side {
    /// Looks at the device of that name; `None` if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Observe, name: &str) -> Result<Option<Self>, Error> {
        let Some((link, settings)) = kernel.device(name)? else { return Ok(None) };
        let dev = link.dev.index;
        Ok(Some(Self {
            settings,
            addresses: kernel.addresses_on(dev)?,
            routes: kernel.routes(dev)?,
            neighbours: kernel.neighbours(dev)?,
            link,
        }))
    }

    /// Looks at the device of that name in a pod, where permanent neighbour entries matter for these
    /// addresses alone; `None` if there is none.
    ///
    /// The kernel keeps the neighbour entries of all namespaces in one table, and reads all of it for each
    /// namespace's share: with a thousand pods, or ten thousand peers, it is never read for one pod.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look_in_pod(
        pod: &mut dyn Observe,
        name: &str,
        gateways: &[IpAddr],
    ) -> Result<Option<Self>, Error> {
        let Some((link, settings)) = pod.device(name)? else { return Ok(None) };
        let dev = link.dev.index;
        let (_, neighbours) = pod.leads(dev, gateways)?;
        if neighbours.len() < gateways.len() {
            return Self::look(pod, name);
        }
        let addresses = pod.addresses_on(dev)?;
        Ok(Some(Self { link, settings, addresses, routes: pod.routes(dev)?, neighbours }))
    }

    /// Looks at a pod's end on the node, as far as it concerns these addresses of the pod; `None` if
    /// there is none.
    ///
    /// Of a thousand pods on a node with routes to ten thousand peers each is looked at by itself, so
    /// the kernel is asked for the pod's entries, not for tables. Where it does not tell of one, because
    /// there is none or a rule leads elsewhere, the tables are read.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look_on_node(
        kernel: &mut dyn Observe,
        name: &str,
        to: &[IpAddr],
    ) -> Result<Option<Self>, Error> {
        let Some((link, settings)) = kernel.device(name)? else { return Ok(None) };
        let (routes, neighbours) = kernel.leads(link.dev.index, to)?;
        let side = Self { link, settings, addresses: Vec::new(), routes, neighbours };
        let is_whole = to
            .iter()
            .all(|to| side.routes_to(IpNetwork::from(*to), None) && side.neighbour(*to).is_some());
        if is_whole { Ok(Some(side)) } else { Self::look(kernel, name) }
    }

    /// Whether it forwards what comes in by it (IPv4).
    pub fn forwards(&self) -> bool {
        self.settings.forwarding.is_none_or(|forwards| forwards == 1)
    }

    /// The MAC of our permanent neighbour entry for an address.
    pub fn neighbour(&self, address: IpAddr) -> Option<Mac> {
        self.neighbours.iter().find(|entry| entry.address == address).map(|entry| entry.mac)
    }

    /// Whether a route to a destination, or to more, goes by that gateway.
    pub fn routes_to(&self, dst: IpNetwork, gateway: Option<IpAddr>) -> bool {
        self.routes.iter().any(|route| route.gateway == gateway && covers(route.dst, dst))
    }

    /// Those of the changes that make it which it lacks. What else hangs on it is not judged:
    /// pods, and plugins later in the chain, may add to it.
    pub fn lacks(&self, changes: Vec<Change>) -> Vec<Change> {
        let mut after = self.clone();
        let lacking = |change| {
            let lacking = after.lacking(change);
            // With its MAC a device loses its neighbour entries (`neigh_changeaddr`).
            if matches!(lacking, Some(Change::Mac(_))) {
                after.neighbours.clear();
            }
            lacking
        };
        changes.into_iter().filter_map(lacking).collect()
    }

    fn lacking(&self, change: Change) -> Option<Change> {
        let link = &self.link;
        let stands = match &change {
            Change::Up => link.up,
            Change::Mtu(mtu) => link.mtu == *mtu,
            Change::Mac(mac) => link.mac == Some(*mac),
            Change::Alias(alias) => link.alias.as_ref() == Some(alias),
            Change::Group(group) => link.group == *group,
            Change::Forward(reverse_path) => {
                let filter = self.settings.rp_filter;
                self.forwards() && filter.is_none_or(|now| now == *reverse_path as u32)
            }
            // It is no loss where it came back: the address is not used.
            Change::NoLinkLocal => true,
            Change::AddAddress(address) => self.addresses.contains(address),
            Change::AddRoute(route) => self.routes_to(route.dst, route.gateway),
            Change::PutNeighbour(entry) => self.neighbour(entry.address) == Some(entry.mac),
            _ => false,
        };
        let same_place =
            |wanted: &Route, has: &Route| has.dst == wanted.dst && has.metric == wanted.metric;
        match change {
            _ if stands => None,
            // Another gateway on this interface is ours, changed; on another it is not ours, and
            // adding fails and says so.
            Change::AddRoute(route) if self.routes.iter().any(|has| same_place(&route, has)) => {
                Some(Change::PutRoute(route))
            }
            change => Some(change),
        }
    }
}

fn covers(wide: IpNetwork, narrow: IpNetwork) -> bool {
    wide.prefix() <= narrow.prefix() && wide.contains(narrow.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Dev, LinkKind, ReversePath};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn side() -> Side {
        Side {
            link: Link {
                dev: Dev { index: 5, name: "eth0".into() },
                mac: Some(MAC),
                mtu: 1450,
                up: true,
                alias: Some("flatnet:pods/-/c1/eth0".into()),
                group: 7,
                peer: Some(2),
                peer_netns: Some(0),
                master: None,
                xdp: false,
                kind: LinkKind::Veth,
            },
            settings: Settings {
                forwarding: Some(1),
                rp_filter: Some(1),
                accept_ra: Some(0),
                disable_ipv6: Some(0),
            },
            addresses: vec!["10.1.1.7/32".parse().unwrap()],
            routes: vec![route("0.0.0.0/0", Some("169.254.1.1"))],
            neighbours: vec![Neighbour { address: "169.254.1.1".parse().unwrap(), mac: MAC }],
        }
    }

    fn route(dst: &str, gateway: Option<&str>) -> Route {
        Route {
            dst: dst.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            onlink: false,
            source: None,
            metric: None,
        }
    }

    fn changes() -> Vec<Change> {
        vec![
            Change::Alias("flatnet:pods/-/c1/eth0".into()),
            Change::Group(7),
            Change::Mac(MAC),
            Change::Mtu(1450),
            Change::Forward(ReversePath::Strict),
            Change::NoLinkLocal,
            Change::Up,
            Change::AddAddress("10.1.1.7/32".parse().unwrap()),
            Change::PutNeighbour(side().neighbours[0].clone()),
            Change::AddRoute(route("0.0.0.0/0", Some("169.254.1.1"))),
        ]
    }

    #[test]
    fn what_is_whole_lacks_nothing() {
        assert_eq!(side().lacks(changes()), []);
    }

    #[test]
    fn each_loss_is_made_good() {
        let without = |spoil: fn(&mut Side)| {
            let mut side = side();
            spoil(&mut side);
            side.lacks(changes())
        };
        let all = changes();
        assert_eq!(without(|side| side.link.alias = None), all[..1]);
        assert_eq!(without(|side| side.link.group = 0), all[1..2]);
        assert_eq!(without(|side| side.link.mac = None), [&all[2..3], &all[8..9]].concat());
        assert_eq!(without(|side| side.link.mtu = 1500), all[3..4]);
        assert_eq!(without(|side| side.settings.forwarding = Some(0)), all[4..5]);
        assert_eq!(without(|side| side.settings.rp_filter = Some(2)), all[4..5]);
        assert_eq!(without(|side| side.link.up = false), all[6..7]);
        assert_eq!(without(|side| side.addresses.clear()), all[7..8]);
        assert_eq!(without(|side| side.neighbours.clear()), all[8..9]);
        assert_eq!(without(|side| side.neighbours[0].mac = Mac([2; 6])), all[8..9]);
        assert_eq!(without(|side| side.routes.clear()), all[9..]);
    }

    #[test]
    fn a_route_that_was_changed_is_replaced_and_one_in_another_table_will_do() {
        let mut changed = side();
        changed.routes[0].gateway = Some("10.9.9.9".parse().unwrap());
        let wanted = route("0.0.0.0/0", Some("169.254.1.1"));
        assert_eq!(changed.lacks(changes()), [Change::PutRoute(wanted.clone())]);

        let mut elsewhere = side();
        elsewhere.routes[0].metric = Some(100);
        assert_eq!(elsewhere.lacks(changes()), []);
        let narrow = Change::AddRoute(route("10.0.0.0/8", Some("169.254.1.1")));
        assert_eq!(elsewhere.lacks(vec![narrow]), [], "the default route covers it");
    }
}
