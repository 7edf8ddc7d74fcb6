//! A kernel that lives in a struct: it keeps state and refuses what the real one refuses, so that
//! unit tests can compare what stands afterwards instead of counting calls.

mod alter;
mod change;
mod observe;
mod refusal;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::{
    DeadEnd, Dev, FdbEntry, Filters, ForwardChain, KernelError, Link, LinkKind, Neighbour, Path,
    PathSettings, Route, RuleSet, Standing, Unreachable, Way,
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
    pub filters: Filters,
    /// A network's filter at an uplink.
    pub at_uplink: Option<Standing>,
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
    /// Why no program can be loaded.
    pub without_bpf: Option<Errno>,
    /// Whether there are IPsec policies.
    pub ipsec: bool,
    /// How many programs were loaded.
    pub programs: u32,
    /// What the programs were told last, and how often all was void.
    pub settings: Option<(PathSettings, u32)>,
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
            xdp: false,
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
            FakeLink {
                link,
                addresses,
                routes,
                neighbours,
                fdb,
                gro: true,
                filters: Filters::default(),
                at_uplink: None,
                waiting: None,
            },
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
