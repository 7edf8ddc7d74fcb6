//! The questions that flatnet asks of one network namespace: all that a dry run needs of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{
    ChainFamily, Claim, DeadEnd, Dev, FastPath, FdbEntry, Filters, Flow, ForwardChain, KernelError,
    Link, Neighbour, OurRoutes, Path, Program, Route, Rule, RuleSet, Settings, Ways,
};

/// What flatnet asks of one network namespace. Nothing is changed by it.
///
/// Errors name the equivalent `ip` command, the errno and the kernel's own words.
pub trait Observe {
    /// The device of that name; `None` if there is none. `ip -d link show dev NAME`
    fn link(&mut self, name: &str) -> Result<Option<Link>, KernelError>;
    /// The device of that name and its settings; `None` if there is none. `ip -d link show dev NAME`
    fn device(&mut self, name: &str) -> Result<Option<(Link, Settings)>, KernelError>;
    /// The device of that index; `None` if there is none.
    fn link_by_index(&mut self, index: u32) -> Result<Option<Link>, KernelError>;
    /// Every device. `ip -d link`
    fn links(&mut self) -> Result<Vec<Link>, KernelError>;
    /// Every address, with the index of its device. `ip addr`
    fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, KernelError>;
    /// The addresses of one device. `ip addr show dev DEV`
    fn addresses_on(&mut self, dev: u32) -> Result<Vec<IpNetwork>, KernelError> {
        let all = self.addresses()?.into_iter();
        Ok(all.filter(|(on, _)| *on == dev).map(|(_, address)| address).collect())
    }
    /// Every VXLAN device; an old kernel tells of others, too. `ip -d link show type vxlan`
    fn vxlans(&mut self) -> Result<Vec<Link>, KernelError>;
    /// Every route of ours. `ip route show proto 102 table main`
    fn our_routes(&mut self) -> Result<OurRoutes, KernelError> {
        Ok(self.our_routes_of(true)?.and(self.our_routes_of(false)?))
    }
    /// Those of one family.
    fn our_routes_of(&mut self, ipv4: bool) -> Result<OurRoutes, KernelError>;
    /// Everybody else's routes that lead nowhere. `ip route show table all type blackhole`, and the
    /// like
    fn dead_ends(&mut self) -> Result<Vec<DeadEnd>, KernelError>;
    /// Everybody's routes on one device. `ip route show dev DEV table all`
    fn routes(&mut self, dev: u32) -> Result<Vec<Route>, KernelError>;
    /// Our permanent neighbour entries on one device. `ip neigh show dev DEV nud permanent`
    fn neighbours(&mut self, dev: u32) -> Result<Vec<Neighbour>, KernelError>;
    /// What leads to each of these addresses by one device, without a look at any other: the route, if
    /// packets take one by it, and our permanent neighbour entry.
    /// `ip route get fibmatch ADDRESS`, `ip neigh get ADDRESS dev DEV`
    fn leads(
        &mut self,
        dev: u32,
        to: &[IpAddr],
    ) -> Result<(Vec<Route>, Vec<Neighbour>), KernelError>;
    /// The forwarding database of one VXLAN device. `bridge fdb show dev DEV`
    fn fdb(&mut self, dev: u32) -> Result<Vec<FdbEntry>, KernelError>;
    /// What stands at a device's hooks for filters. `tc qdisc show dev DEV`, `tc filter show dev DEV ingress`
    fn filters(&mut self, dev: u32) -> Result<Filters, KernelError>;
    /// Indices of the devices that have a place for filters. `tc qdisc show`
    fn clsacts(&mut self) -> Result<BTreeSet<u32>, KernelError>;
    /// What stands at an uplink's hook for what it receives, for the network with this VNI. Its other queueing disciplines,
    /// and filters for what it sends, are not looked at.
    fn filters_at_uplink(&mut self, dev: u32, vni: u32) -> Result<Filters, KernelError>;
    /// How many filters hang there, anybody's.
    fn count_filters(&mut self, dev: u32) -> Result<usize, KernelError>;
    /// Makes the programs of the fast path, with empty maps. Nothing runs them, and unless a filter is given them they go
    /// with what is returned: so a plan can tell whether the kernel takes them.
    fn load_fast_path(&mut self) -> Result<FastPath, KernelError>;
    /// The programs of these numbers.
    fn find_fast_path(&mut self, ids: [u32; 2]) -> Result<FastPath, KernelError>;
    /// The program that unwraps for this path: the one of this number if it belongs to the path, else a new one, as above.
    fn receiver(&mut self, of: &FastPath, standing: Option<u32>) -> Result<Program, KernelError>;
    /// Whether packets may have to be encrypted, or what is not may be unwanted. `ip xfrm policy count`
    fn has_ipsec(&mut self) -> Result<bool, KernelError>;
    /// The ports of a bridge, and whatever else has this device for a master. `ip link show master`
    fn ports(&mut self, master: u32) -> Result<Vec<Link>, KernelError>;
    /// Where the packets of a family may go. `ip rule show`, `ip route show table all`
    fn ways(&mut self, ipv4: bool) -> Result<Ways, KernelError> {
        Ok(self.ways_and_ours(ipv4)?.0)
    }
    /// The same, and which routes of ours there were among those that were read.
    fn ways_and_ours(&mut self, ipv4: bool) -> Result<(Ways, OurRoutes), KernelError>;
    /// Whether a device puts received packets together before it passes them on (generic receive
    /// offload); `None` if the kernel is too old to tell, or the device has gone. `ethtool -k DEV`
    fn gro(&mut self, dev: &Dev) -> Result<Option<bool>, KernelError>;
    /// The path of a flow to each destination; `None` where there is no route. `ip route get`
    fn paths(&mut self, to: &[IpAddr], flow: &Flow) -> Result<Vec<Option<Path>>, KernelError>;
    /// What has an address already; `None` if nothing has. `ip addr show to`, `ip route get`,
    /// `ip route get fibmatch`
    fn claim(&mut self, to: IpAddr) -> Result<Option<Claim>, KernelError>;
    /// The route of ours by which packets to an address go, and the index of its device; `None` if
    /// they go nowhere, whatever errno that has, or by another program's.
    /// `ip route get fibmatch ADDRESS`
    fn our_route(&mut self, to: IpAddr) -> Result<Option<(u32, Route)>, KernelError>;
    /// What [`Kernel::put_rules`](super::Kernel::put_rules) would change, in words close to nft(8).
    fn rule_changes(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError>;
    /// Whether the network with this VNI has rules: what a glance tells, not whether all are right.
    /// `nft list chain inet flatnet prerouting-VNI`
    fn has_rules(&mut self, vni: u32) -> Result<bool, KernelError>;
    /// The cluster ranges of each network that has rules here, by its VNI; adjacent ones are one.
    /// `nft list sets inet`
    fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, KernelError>;
    /// Other programs' chains that what is forwarded comes through. `nft list chains`,
    /// `iptables-legacy -S`
    fn forward_chains(&mut self) -> Result<Vec<ForwardChain>, KernelError>;
    /// The rules of one chain of another program's, in nf_tables; none where there is no such chain. What they ask
    /// of sets is not known. `nft list chain FAMILY TABLE CHAIN`
    fn rules_of(
        &mut self,
        family: ChainFamily,
        table: &str,
        chain: &str,
    ) -> Result<Vec<Rule>, KernelError>;
    /// Reads a setting of `/proc/sys/net` in this namespace; `None` if the kernel has no such one.
    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError>;
}
