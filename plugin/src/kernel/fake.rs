//! A kernel that lives in a struct: it keeps state and refuses what the real one refuses, so that
//! unit tests can compare what stands afterwards instead of counting calls.

mod change;
mod refusal;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::{
    Change, Claim, DeadEnd, Dev, FdbEntry, Flow, ForwardChain, Kernel, KernelError, Link, LinkKind,
    Neighbour, OurRoutes, Path, Route, RuleSet, Settings, Unreachable, Veth, VxlanLink, Way, Ways,
};

/// One device and all that hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeLink {
    pub link: Link,
    pub addresses: Vec<IpNetwork>,
    pub routes: Vec<Route>,
    pub neighbours: BTreeMap<IpAddr, Neighbour>,
    pub fdb: Vec<FdbEntry>,
    pub gro: bool,
    /// The alias of a veth that is not finished: it does not count yet.
    pub waiting: Option<Option<String>>,
}

/// One network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fake {
    pub links: BTreeMap<String, FakeLink>,
    pub sysctls: BTreeMap<String, String>,
    /// Our routes that end what they take: they are on no device.
    pub unreachable: Vec<Unreachable>,
    /// Everybody else's routes that lead nowhere.
    pub dead_ends: Vec<DeadEnd>,
    /// UDP ports that another program holds.
    pub ports: Vec<u16>,
    /// The answers of `paths`.
    pub paths: BTreeMap<IpAddr, Path>,
    /// Other programs' routes, all of the main table.
    pub ways: Vec<Way>,
    /// Packet filter rules, by VNI.
    pub rules: BTreeMap<u32, RuleSet>,
    /// Other programs' chains.
    pub forward_chains: Vec<ForwardChain>,
    /// A device that is in the way once, because the kernel is about to remove it: the namespace of
    /// its peer is gone.
    pub vanishing: Option<String>,
    /// Every change made, in the words of ip(8).
    pub log: Vec<String>,
    next_index: u32,
}

impl Fake {
    /// Adds a device of any kind, up.
    pub fn add(&mut self, name: &str, mtu: u32, addresses: &[&str], kind: LinkKind) -> u32 {
        self.next_index += 1;
        let dev = Dev { index: self.next_index, name: name.into() };
        let link = Link {
            dev,
            mac: None,
            mtu,
            up: true,
            alias: None,
            group: 0,
            peer: None,
            peer_netns: None,
            master: None,
            kind,
        };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.insert(link, addresses)
    }

    fn insert(&mut self, link: Link, addresses: Vec<IpNetwork>) -> u32 {
        let index = link.dev.index;
        let name = link.dev.name.clone();
        let (routes, neighbours, fdb) = (Vec::new(), BTreeMap::new(), Vec::new());
        self.links.insert(
            name,
            FakeLink { link, addresses, routes, neighbours, fdb, gro: true, waiting: None },
        );
        index
    }

    fn by_index(&mut self, index: u32) -> Option<&mut FakeLink> {
        self.links.values_mut().find(|link| link.link.dev.index == index)
    }

    fn make(&mut self, mut link: Link) -> Result<Dev, KernelError> {
        if self.links.contains_key(&link.dev.name) {
            if self.vanishing.take_if(|name| *name == link.dev.name).is_some() {
                self.links.remove(&link.dev.name);
            }
            return Err(refused(&format!("ip link add {}", link.dev.name), Errno::EEXIST));
        }
        self.next_index += 1;
        link.dev.index = self.next_index;
        let dev = link.dev.clone();
        self.log.push(format!("ip link add {}", dev.name));
        self.insert(link, Vec::new());
        Ok(dev)
    }
}

fn refused(request: &str, errno: Errno) -> KernelError {
    KernelError::Refused { request: request.into(), errno, extended: None }
}

impl Kernel for Fake {
    fn link(&mut self, name: &str) -> Result<Option<Link>, KernelError> {
        Ok(self.links.get(name).map(|link| link.link.clone()))
    }

    fn device(&mut self, name: &str) -> Result<Option<(Link, Settings)>, KernelError> {
        let of = |family: &str, setting: &str| {
            self.sysctls.get(&format!("net/{family}/conf/{name}/{setting}"))?.parse().ok()
        };
        let settings = Settings {
            forwarding: of("ipv4", "forwarding"),
            rp_filter: of("ipv4", "rp_filter"),
            accept_ra: of("ipv6", "accept_ra"),
            disable_ipv6: of("ipv6", "disable_ipv6"),
        };
        Ok(self.links.get(name).map(|link| (link.link.clone(), settings)))
    }

    fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, KernelError> {
        Ok(self.by_index(index).map(|link| link.link.clone()))
    }

    fn links(&mut self) -> Result<Vec<Link>, KernelError> {
        Ok(self.links.values().map(|link| link.link.clone()).collect())
    }

    fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, KernelError> {
        let all = self.links.values();
        Ok(all
            .flat_map(|link| link.addresses.iter().map(|ip| (link.link.dev.index, *ip)))
            .collect())
    }

    fn vxlans(&mut self) -> Result<Vec<Link>, KernelError> {
        let mut links = self.links()?;
        links.retain(|link| matches!(link.kind, LinkKind::Vxlan(_)));
        Ok(links)
    }

    fn our_routes(&mut self) -> Result<OurRoutes, KernelError> {
        let all = self.links.values();
        let routes = all
            .flat_map(|link| link.routes.iter().map(|route| (link.link.dev.index, route.clone())))
            .collect();
        Ok(OurRoutes { routes, unreachable: self.unreachable.clone() })
    }

    fn dead_ends(&mut self) -> Result<Vec<DeadEnd>, KernelError> {
        Ok(self.dead_ends.clone())
    }

    fn routes(&mut self, dev: u32) -> Result<Vec<Route>, KernelError> {
        Ok(self.by_index(dev).map(|link| link.routes.clone()).unwrap_or_default())
    }

    fn neighbours(&mut self, dev: u32) -> Result<Vec<Neighbour>, KernelError> {
        Ok(self.by_index(dev).map(|l| l.neighbours.values().cloned().collect()).unwrap_or_default())
    }

    fn leads(
        &mut self,
        dev: u32,
        to: &[IpAddr],
    ) -> Result<(Vec<Route>, Vec<Neighbour>), KernelError> {
        let (mut routes, mut neighbours) = (self.routes(dev)?, self.neighbours(dev)?);
        routes.retain(|route| to.iter().any(|to| route.dst.contains(*to)));
        neighbours.retain(|entry| to.contains(&entry.address));
        Ok((routes, neighbours))
    }

    fn fdb(&mut self, dev: u32) -> Result<Vec<FdbEntry>, KernelError> {
        Ok(self.by_index(dev).map(|link| link.fdb.clone()).unwrap_or_default())
    }

    fn ports(&mut self, master: u32) -> Result<Vec<Link>, KernelError> {
        let of = |link: &Link| link.master == Some(master);
        Ok(self.links()?.into_iter().filter(of).collect())
    }

    fn ways(&mut self, ipv4: bool) -> Result<Ways, KernelError> {
        let known = self.paths.keys().filter(|to| to.is_ipv4() == ipv4);
        let rules = known.map(|to| IpNetwork::from(*to)).collect();
        let routes = self.ways.iter().filter(|way| way.dst.is_ipv4() == ipv4);
        Ok(Ways { rules, routes: routes.cloned().collect(), tables: [254].into() })
    }

    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError> {
        Ok(self.by_index(dev.index).map(|link| link.gro))
    }

    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError> {
        let command = format!("ethtool -K {} gro off", dev.name);
        let link = self.by_index(dev.index).ok_or_else(|| refused(&command, Errno::ENODEV))?;
        link.gro = false;
        self.log.push(command);
        Ok(())
    }

    fn paths(&mut self, to: &[IpAddr], _: &Flow) -> Result<Vec<Option<Path>>, KernelError> {
        Ok(to.iter().map(|to| self.paths.get(to).copied()).collect())
    }

    fn claim(&mut self, to: IpAddr) -> Result<Option<Claim>, KernelError> {
        if self.addresses()?.iter().any(|(_, address)| address.ip() == to) {
            return Ok(Some(Claim::Machine));
        }
        let mut routes = self.our_routes()?.routes.into_iter();
        let host = routes.find(|(_, route)| route.dst == IpNetwork::from(to));
        Ok(host.map(|(dev, _)| Claim::Route(dev)))
    }

    fn our_route(&mut self, to: IpAddr) -> Result<Option<(u32, Route)>, KernelError> {
        let OurRoutes { routes, unreachable } = self.our_routes()?;
        let routes = routes.into_iter().filter(|(_, route)| route.dst.contains(to));
        let best = routes.max_by_key(|(_, route)| route.dst.prefix());
        let ends = unreachable.iter().map(|route| route.dst);
        let ends = ends.chain(self.dead_ends.iter().map(|route| route.dst));
        let longest = ends.filter(|dst| dst.contains(to)).map(|dst| dst.prefix()).max();
        Ok(best.filter(|(_, route)| longest.is_none_or(|ends| route.dst.prefix() >= ends)))
    }

    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError> {
        let own = &link.vxlan;
        let same = |other: &Link| match &other.kind {
            LinkKind::Vxlan(other) => {
                own.vni == other.vni && own.meets(other) && own.special == other.special
            }
            _ => false,
        };
        if self.links()?.iter().any(same) {
            return Err(refused(&link.command(), Errno::EEXIST));
        }
        self.make(Link {
            dev: Dev { index: 0, name: link.name.clone() },
            mac: Some(link.mac),
            mtu: link.mtu,
            up: false,
            alias: None,
            group: link.group,
            peer: None,
            peer_netns: None,
            master: None,
            kind: LinkKind::Vxlan(link.vxlan.clone()),
        })
    }

    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<Dev, KernelError> {
        let made = self.make(Link {
            dev: Dev { index: 0, name: veth.name.into() },
            mac: Some(veth.mac),
            mtu: veth.mtu,
            up: false,
            alias: None,
            group: veth.group,
            peer: None,
            peer_netns: None,
            master: None,
            kind: LinkKind::Veth,
        })?;
        self.links.entry(made.name.clone()).and_modify(|link| link.waiting = Some(None));
        Ok(made)
    }

    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError> {
        let removed = self.links.remove(name);
        let found = removed.is_some();
        if let Some(link) = removed {
            link.addresses.iter().for_each(|address| self.forget_source(address.ip()));
            self.log.push(format!("ip link delete {name}"));
        }
        Ok(found)
    }

    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError> {
        let mut first = Ok(());
        for change in changes {
            let command = change.command(&dev.name);
            let outcome = self.change(dev.index, change);
            // A route is one of its table, whatever its device.
            if let (Change::PutRoute(route), Ok(())) = (change, outcome) {
                let others = self.links.values_mut().filter(|link| link.link.dev != *dev);
                let is_same = |r: &Route| r.dst == route.dst && r.metric == route.metric;
                others.for_each(|link| link.routes.retain(|r| !is_same(r)));
            }
            if let (Change::DelAddress(address), Ok(())) = (change, outcome) {
                self.forget_source(address.ip());
            }
            match outcome {
                Err(errno) if !change.tolerates(errno) && first.is_ok() => {
                    first = Err(refused(&command, errno));
                }
                _ => self.log.push(command),
            }
        }
        first
    }

    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError> {
        Ok(self.forward_chains.clone())
    }

    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        let same = self.rules.get(&rules.vni) == Some(rules);
        Ok(if same { Vec::new() } else { vec![format!("nft rules of {}", rules.vni)] })
    }

    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        let changes = self.rule_changes(rules)?;
        self.rules.insert(rules.vni, rules.clone());
        self.log.extend_from_slice(&changes);
        Ok(changes)
    }

    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError> {
        let words = format!("nft vteps of {vni}");
        let rules = self.rules.get_mut(&vni).ok_or_else(|| refused(&words, Errno::ENOENT))?;
        rules.vteps.retain(|vtep| !gone.contains(vtep));
        rules.vteps.extend(new);
        Ok(vec![words])
    }

    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        let found = self.rules.remove(&vni).is_some();
        if found {
            self.log.push(format!("nft delete rules of {vni}"));
        }
        Ok(found)
    }

    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        Ok(self.rules.contains_key(&vni))
    }

    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError> {
        Ok(self.rules.iter().map(|(vni, rules)| (*vni, rules.cluster_cidrs.clone())).collect())
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        Ok(self.sysctls.get(key).cloned())
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        if self.sysctls.insert(key.into(), value.into()).as_deref() != Some(value) {
            self.log.push(format!("sysctl -w {key}={value}"));
        }
        Ok(true)
    }
}
