//! What it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Fake, refused};
use crate::kernel::nft::intervals;
use crate::kernel::nft::names::Names;
use crate::kernel::{
    ChainFamily, Claim, DeadEnd, Dev, FastPath, FdbEntry, Filters, Flow, ForwardChain, KernelError,
    Link, LinkKind, Neighbour, Observe, OurRoutes, Path, Program, Route, Rule, RuleSet, Settings,
    Ways,
};

impl Observe for Fake {
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

    fn our_routes_of(&mut self, ipv4: bool) -> Result<OurRoutes, KernelError> {
        let all = self.links.values();
        let routes = all
            .flat_map(|link| link.routes.iter().map(|route| (link.link.dev.index, route.clone())))
            .filter(|(_, route)| route.dst.is_ipv4() == ipv4)
            .collect();
        let ends = self.unreachable.iter().filter(|route| route.dst.is_ipv4() == ipv4);
        Ok(OurRoutes { routes, unreachable: ends.cloned().collect() })
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

    fn ways_and_ours(&mut self, ipv4: bool) -> Result<(Ways, OurRoutes), KernelError> {
        let known = self.paths.keys().filter(|to| to.is_ipv4() == ipv4);
        let rules = known.map(|to| IpNetwork::from(*to)).collect();
        let routes = self.ways.iter().filter(|way| way.dst.is_ipv4() == ipv4);
        let ways = Ways { rules, routes: routes.cloned().collect(), tables: [254].into() };
        Ok((ways, self.our_routes_of(ipv4)?))
    }

    fn filters(&mut self, dev: u32) -> Result<Filters, KernelError> {
        Ok(self.by_index(dev).map(|link| link.filters.clone()).unwrap_or_default())
    }

    fn clsacts(&mut self) -> Result<BTreeSet<u32>, KernelError> {
        let links = self.links.values().filter(|link| link.filters.clsact);
        Ok(links.map(|link| link.link.dev.index).collect())
    }

    fn filters_at_uplink(&mut self, dev: u32, _: u32) -> Result<Filters, KernelError> {
        let link = self.by_index(dev).cloned();
        Ok(link
            .map(|link| Filters { standing: [link.at_uplink, None], ..link.filters })
            .unwrap_or_default())
    }

    fn count_filters(&mut self, dev: u32) -> Result<usize, KernelError> {
        let at_uplink = self.by_index(dev).is_some_and(|link| link.at_uplink.is_some());
        Ok(self.filters(dev)?.standing.iter().flatten().count() + usize::from(at_uplink))
    }

    fn load_fast_path(&mut self) -> Result<FastPath, KernelError> {
        let command = "bpf: load the programs of the fast path";
        if let Some(errno) = self.without_bpf {
            return Err(refused(command, errno));
        }
        self.log.push(command.to_owned());
        self.programs += 3;
        Ok(FastPath::planned(self.programs - 2))
    }

    fn find_fast_path(&mut self, ids: [u32; 2]) -> Result<FastPath, KernelError> {
        Ok(FastPath::planned(ids[0]))
    }

    fn receiver(&mut self, of: &FastPath, _: Option<u32>) -> Result<Program, KernelError> {
        let [hit, _] = of.ids();
        Ok(Program::planned(hit + 2))
    }

    fn has_ipsec(&mut self) -> Result<bool, KernelError> {
        Ok(self.ipsec)
    }

    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError> {
        Ok(self.by_index(dev.index).map(|link| link.gro))
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

    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError> {
        Ok(self.forward_chains.clone())
    }

    fn rules_of(
        &mut self,
        family: ChainFamily,
        table: &str,
        chain: &str,
    ) -> Result<Vec<Rule>, KernelError> {
        let _ = (family, table, chain);
        Ok(Vec::new())
    }

    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        let same = self.rules.get(&rules.vni) == Some(rules);
        Ok(if same { Vec::new() } else { vec![format!("nft rules of {}", rules.vni)] })
    }

    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        Ok(self.rules.contains_key(&vni))
    }

    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError> {
        let mut found: BTreeMap<u32, Vec<IpNetwork>> = BTreeMap::new();
        for set in self.rules.values().flat_map(|rules| &rules.sets) {
            if let Some(vni) = Names::of_cluster(&set.name) {
                found.entry(vni).or_default().extend(intervals::covering(&set.elements));
            }
        }
        Ok(found)
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        Ok(self.sysctls.get(key).cloned())
    }
}
