//! Questions go on to the kernel that is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Journal;
use crate::kernel::{
    ChainFamily, Claim, DeadEnd, Dev, FastPath, FdbEntry, Filters, Flow, ForwardChain, KernelError,
    Link, Neighbour, Observe, OurRoutes, Path, Program, Route, Rule, RuleSet, Settings, Ways,
};

impl Observe for Journal<'_> {
    fn link(&mut self, name: &str) -> Result<Option<Link>, KernelError> {
        self.asked().link(name)
    }

    fn device(&mut self, name: &str) -> Result<Option<(Link, Settings)>, KernelError> {
        self.asked().device(name)
    }

    fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, KernelError> {
        self.asked().link_by_index(index)
    }

    fn links(&mut self) -> Result<Vec<Link>, KernelError> {
        self.asked().links()
    }

    fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, KernelError> {
        self.asked().addresses()
    }

    fn vxlans(&mut self) -> Result<Vec<Link>, KernelError> {
        self.asked().vxlans()
    }

    fn our_routes_of(&mut self, ipv4: bool) -> Result<OurRoutes, KernelError> {
        self.asked().our_routes_of(ipv4)
    }

    fn dead_ends(&mut self) -> Result<Vec<DeadEnd>, KernelError> {
        self.asked().dead_ends()
    }

    fn routes(&mut self, dev: u32) -> Result<Vec<Route>, KernelError> {
        self.asked().routes(dev)
    }

    fn ports(&mut self, master: u32) -> Result<Vec<Link>, KernelError> {
        self.asked().ports(master)
    }

    fn ways_and_ours(&mut self, ipv4: bool) -> Result<(Ways, OurRoutes), KernelError> {
        self.asked().ways_and_ours(ipv4)
    }

    fn neighbours(&mut self, dev: u32) -> Result<Vec<Neighbour>, KernelError> {
        self.asked().neighbours(dev)
    }

    fn leads(
        &mut self,
        dev: u32,
        to: &[IpAddr],
    ) -> Result<(Vec<Route>, Vec<Neighbour>), KernelError> {
        self.asked().leads(dev, to)
    }

    fn fdb(&mut self, dev: u32) -> Result<Vec<FdbEntry>, KernelError> {
        self.asked().fdb(dev)
    }

    fn filters(&mut self, dev: u32) -> Result<Filters, KernelError> {
        self.asked().filters(dev)
    }

    fn clsacts(&mut self) -> Result<BTreeSet<u32>, KernelError> {
        self.asked().clsacts()
    }

    fn filters_at_uplink(&mut self, dev: u32, vni: u32) -> Result<Filters, KernelError> {
        self.asked().filters_at_uplink(dev, vni)
    }

    fn count_filters(&mut self, dev: u32) -> Result<usize, KernelError> {
        self.asked().count_filters(dev)
    }

    fn load_fast_path(&mut self) -> Result<FastPath, KernelError> {
        let path = self.asked().load_fast_path()?;
        self.changes.push("bpf: load the programs of the fast path".to_owned());
        Ok(path)
    }

    fn find_fast_path(&mut self, ids: [u32; 2]) -> Result<FastPath, KernelError> {
        self.asked().find_fast_path(ids)
    }

    fn receiver(&mut self, of: &FastPath, standing: Option<u32>) -> Result<Program, KernelError> {
        self.asked().receiver(of, standing)
    }

    fn has_ipsec(&mut self) -> Result<bool, KernelError> {
        self.asked().has_ipsec()
    }

    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError> {
        self.asked().gro(dev)
    }

    fn paths(&mut self, to: &[IpAddr], flow: &Flow) -> Result<Vec<Option<Path>>, KernelError> {
        self.asked().paths(to, flow)
    }

    fn claim(&mut self, to: IpAddr) -> Result<Option<Claim>, KernelError> {
        self.asked().claim(to)
    }

    fn our_route(&mut self, to: IpAddr) -> Result<Option<(u32, Route)>, KernelError> {
        self.asked().our_route(to)
    }

    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        self.asked().rule_changes(rules)
    }

    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        self.asked().has_rules(vni)
    }

    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError> {
        self.asked().cluster_cidrs()
    }

    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError> {
        self.asked().forward_chains()
    }

    fn rules_of(
        &mut self,
        family: ChainFamily,
        table: &str,
        chain: &str,
    ) -> Result<Vec<Rule>, KernelError> {
        self.asked().rules_of(family, table, chain)
    }

    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError> {
        self.asked().sysctl(key)
    }
}
