//! What the rest of the plugin asks of the kernel, as conversations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;

use super::super::route_socket::Request;
use super::super::{
    ChainFamily, Claim, DeadEnd, Dev, FastPath, FdbEntry, Filters, Flow, ForwardChain, Hook,
    KernelError, Link, Neighbour, Observe, OurRoute, OurRoutes, Path, Program, Route, Rule,
    RuleSet, Settings, Way, Ways, decision, decode, gro, ipsec, legacy, nowhere, question,
    settings, sysctl, traffic, ways,
};
use super::{Netlink, absent_is_empty};

const RT_TABLE_DEFAULT: u32 = 253;
const RT_TABLE_MAIN: u32 = 254;

impl Observe for Netlink {
    fn link(&mut self, name: &str) -> Result<Option<Link>, KernelError> {
        self.look_up(format!("ip link show dev {name}"), question::link(name), decode::link)
    }

    fn device(&mut self, name: &str) -> Result<Option<(Link, Settings)>, KernelError> {
        let read = |payload: &[u8]| Some((decode::link(payload)?, settings::settings(payload)));
        self.look_up(format!("ip link show dev {name}"), question::link(name), read)
    }

    fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, KernelError> {
        let command = format!("ip link show (index {index})");
        self.look_up(command, question::link_by_index(index), decode::link)
    }

    fn links(&mut self) -> Result<Vec<Link>, KernelError> {
        self.dump_links("ip link show", question::links())
    }

    fn ports(&mut self, master: u32) -> Result<Vec<Link>, KernelError> {
        let command = format!("ip link show master (index {master})");
        let mut ports = self.dump_links(&command, question::ports(master))?;
        ports.retain(|link| link.master == Some(master));
        Ok(ports)
    }

    fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, KernelError> {
        self.socket.dump("ip addr show", question::addresses(), decode::address)
    }

    fn vxlans(&mut self) -> Result<Vec<Link>, KernelError> {
        self.dump_links("ip link show type vxlan", question::vxlans())
    }

    fn our_routes_of(&mut self, ipv4: bool) -> Result<OurRoutes, KernelError> {
        let get = question::our_routes(family(ipv4));
        let routes = self.socket.dump("ip route show", get, nowhere::our_route);
        Ok(absent_is_empty(routes)?.into_iter().collect())
    }

    fn dead_ends(&mut self) -> Result<Vec<DeadEnd>, KernelError> {
        self.route_tables(question::all_routes, nowhere::dead_end)
    }

    fn routes(&mut self, dev: u32) -> Result<Vec<Route>, KernelError> {
        let get = |family| question::routes(family, dev);
        let routes = self.route_tables(get, decode::any_route)?;
        Ok(routes.into_iter().filter(|(on, _)| *on == dev).map(|(_, route)| route).collect())
    }

    fn ways_and_ours(&mut self, ipv4: bool) -> Result<(Ways, OurRoutes), KernelError> {
        /// One of either.
        enum Either {
            Way(Way),
            Ours(OurRoute),
        }
        let family = family(ipv4);
        let (rules, routes) = (question::rules(family), question::all_routes(family));
        let rules = absent_is_empty(self.socket.dump("ip rule show", rules, ways::rule))?;
        let either = |row: &[u8]| match decode::is_ours(row) {
            true => nowhere::our_route_in_main(row).map(Either::Ours),
            false => ways::way(row).map(Either::Way),
        };
        let all = self.socket.dump("ip route show table all", routes, either);
        let (mut routes, mut ours) = (Vec::new(), Vec::new());
        for either in absent_is_empty(all)? {
            match either {
                Either::Way(way) => routes.push(way),
                Either::Ours(route) => ours.push(route),
            }
        }
        // A kernel without rules asks these.
        let mut tables = BTreeSet::from([RT_TABLE_MAIN, RT_TABLE_DEFAULT]);
        tables.extend(rules.iter().filter_map(|(_, table)| *table));
        let ways = Ways { rules: rules.into_iter().map(|(dst, _)| dst).collect(), routes, tables };
        Ok((ways, ours.into_iter().collect()))
    }

    fn neighbours(&mut self, dev: u32) -> Result<Vec<Neighbour>, KernelError> {
        let request = question::neighbours(AddressFamily::Unspec, dev);
        self.socket.dump("ip neigh show", request, |row| decode::neighbour(row, dev))
    }

    fn leads(
        &mut self,
        dev: u32,
        to: &[IpAddr],
    ) -> Result<(Vec<Route>, Vec<Neighbour>), KernelError> {
        let (mut routes, mut neighbours) = (Vec::new(), Vec::new());
        let route = |to: &IpAddr| question::matching_route(*to, &Flow::default());
        let asked = to.iter().map(route);
        let asked = asked.chain(to.iter().map(|to| question::neighbour(dev, *to)));
        let requests = asked.map(|message| Request { message, flags: 0 });
        to.iter().for_each(|to| log::debug!("ip route get fibmatch {to}; ip neigh get {to}"));
        // A refusal means that there is none; a kernel that cannot answer is asked for all of them.
        self.socket.exchange(requests, |index, answer| match answer {
            Ok(row) if index < to.len() => {
                let found = decode::any_route(row).filter(|(on, _)| *on == dev);
                routes.extend(found.map(|(_, route)| route));
            }
            Ok(row) => neighbours.extend(decode::neighbour(row, dev)),
            Err(_) => {}
        })?;
        Ok((routes, neighbours))
    }

    fn fdb(&mut self, dev: u32) -> Result<Vec<FdbEntry>, KernelError> {
        let request = question::neighbours(AddressFamily::Bridge, dev);
        self.socket.dump("bridge fdb show", request, |row| decode::fdb(row, dev))
    }

    fn filters(&mut self, dev: u32) -> Result<Filters, KernelError> {
        let mut filters = Filters::default();
        log::debug!("tc qdisc show, tc filter show (index {dev})");
        // A refusal means that there is none.
        self.socket.exchange(traffic::questions(dev), |index, answer| {
            if let Ok(row) = answer {
                traffic::take_in(&mut filters, index, row);
            }
        })?;
        Ok(filters)
    }

    fn clsacts(&mut self) -> Result<BTreeSet<u32>, KernelError> {
        let devices = self.socket.dump("tc qdisc show", traffic::qdiscs(), traffic::clsact_on)?;
        Ok(devices.into_iter().collect())
    }

    fn filters_at_uplink(&mut self, dev: u32, vni: u32) -> Result<Filters, KernelError> {
        let mut filters = Filters::default();
        log::debug!("tc qdisc show, tc filter show ingress (index {dev})");
        self.socket.exchange(traffic::questions_at_uplink(dev, vni), |index, answer| {
            if let Ok(row) = answer {
                traffic::take_in_at_uplink(&mut filters, index, row);
            }
        })?;
        if filters.clsact && filters.standing[0].is_none() {
            let all = traffic::all(dev, Hook::Ingress);
            let with_place = self.socket.dump("tc filter show", all, traffic::with_place)?;
            filters.shared = !with_place.is_empty();
        }
        Ok(filters)
    }

    fn count_filters(&mut self, dev: u32) -> Result<usize, KernelError> {
        let mut count = 0;
        for hook in Hook::ALL {
            let message = traffic::all(dev, hook);
            count += self.socket.dump("tc filter show", message, traffic::any_filter)?.len();
        }
        Ok(count)
    }

    fn load_fast_path(&mut self) -> Result<FastPath, KernelError> {
        log::debug!("bpf: load the programs of the fast path");
        FastPath::load()
    }

    fn find_fast_path(&mut self, ids: [u32; 2]) -> Result<FastPath, KernelError> {
        FastPath::find(ids)
    }

    fn receiver(&mut self, of: &FastPath, standing: Option<u32>) -> Result<Program, KernelError> {
        of.receiver(standing)
    }

    fn has_ipsec(&mut self) -> Result<bool, KernelError> {
        self.inside(ipsec::has_policies)?
    }

    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError> {
        log::debug!("ethtool -k {}", dev.name);
        self.inside(|| gro::is_on(dev))?
    }

    fn paths(&mut self, to: &[IpAddr], flow: &Flow) -> Result<Vec<Option<Path>>, KernelError> {
        let words = flow.words();
        let request = |message| Request { message, flags: 0 };
        let requests = to.iter().map(|to| request(question::path(*to, flow)));
        to.iter().for_each(|to| log::debug!("ip route get {to}{words}"));
        let mut paths = vec![None; to.len()];
        let mut learned = Vec::new();
        self.socket.exchange(requests, |index, answer| {
            // A refusal means that there is no route now, which is what None says.
            if let (Some(path), Ok(row)) = (paths.get_mut(index), answer) {
                *path = ways::path(row);
                if ways::is_learned(row) {
                    learned.push(index);
                }
            }
        })?;
        // The route's own MTU lies beneath what was learned about the path.
        learned.iter().for_each(|index| log::debug!("ip route get fibmatch {}{words}", to[*index]));
        let requests =
            learned.iter().map(|index| request(question::matching_route(to[*index], flow)));
        self.socket.exchange(requests, |nth, answer| {
            let path = learned.get(nth).and_then(|index| paths.get_mut(*index)?.as_mut());
            if let (Some(path), Ok(row)) = (path, answer) {
                path.mtu = ways::route_mtu(row);
            }
        })?;
        Ok(paths)
    }

    fn claim(&mut self, to: IpAddr) -> Result<Option<Claim>, KernelError> {
        // There is no route to an address on a device that is down or has no carrier. But from an
        // IPv4 address that the machine has not, the kernel knows no way, not even to itself.
        let from = Flow { source: Some(to), ..Flow::default() };
        let has = match to {
            IpAddr::V4(_) => question::path(Ipv4Addr::LOCALHOST.into(), &from),
            IpAddr::V6(_) => question::address(to),
        };
        let any = Flow::default();
        let asked = [question::path(to, &any), has, question::matching_route(to, &any)];
        let (mut takes, mut host) = (false, None);
        log::debug!("ip route get {to}; ip addr show to {to}; ip route get fibmatch {to}");
        self.socket.exchange(
            asked.map(|message| Request { message, flags: 0 }),
            |index, answer| {
                let Ok(row) = answer else { return };
                match index {
                    0 => takes |= ways::is_taken(row),
                    1 => takes = true,
                    _ => host = decode::any_route(row),
                }
            },
        )?;
        let host = host.filter(|(_, route)| route.dst == IpNetwork::from(to));
        Ok(if takes { Some(Claim::Machine) } else { host.map(|(dev, _)| Claim::Route(dev)) })
    }

    fn our_route(&mut self, to: IpAddr) -> Result<Option<(u32, Route)>, KernelError> {
        let command = format!("ip route get fibmatch {to}");
        let request = Request { message: question::matching_route(to, &Flow::default()), flags: 0 };
        let mut found = Ok(None);
        log::debug!("{command}");
        self.socket.exchange([request], |_, answer| match answer {
            Ok(row) => found = Ok(decode::route(row)),
            // That it leads nowhere is an answer, too.
            Err(refusal) if decision::is_dead_end(refusal.errno) => {}
            Err(refusal) => found = Err(refusal.of(&command)),
        })?;
        found
    }

    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        Ok(self.firewall()?.changes(rules)?)
    }

    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        Ok(self.firewall()?.has_rules(vni)?)
    }

    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError> {
        Ok(self.firewall()?.cluster_cidrs()?)
    }

    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError> {
        let names = self.device_names()?;
        let mut chains = self.firewall()?.forward_chains(&names)?;
        chains.extend(self.inside(legacy::forward_chains)??);
        Ok(chains)
    }

    fn rules_of(
        &mut self,
        family: ChainFamily,
        table: &str,
        chain: &str,
    ) -> Result<Vec<Rule>, KernelError> {
        let names = self.device_names()?;
        Ok(self.firewall()?.rules_of(family, table, chain, &names)?)
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        match self.inside(|| sysctl::read(key))? {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KernelError::Sysctl { action: "read", key: key.into(), source }),
        }
    }
}

fn family(ipv4: bool) -> AddressFamily {
    if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Netlink {
    /// The devices' names, by their indices.
    fn device_names(&mut self) -> Result<BTreeMap<u32, String>, KernelError> {
        let links = self.links()?.into_iter();
        Ok(links.map(|link| (link.dev.index, link.dev.name)).collect())
    }
}
