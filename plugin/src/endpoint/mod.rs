//! Attachments of Docker's containers. Docker asks a driver for a device and moves it into the container itself;
//! what the driver is not asked for afterwards is done when the move is heard of.
//!
//! Docker names no container and no network, only endpoints (one container in one network) and the pools that
//! addresses are of. So an attachment is known by the MAC of its interface, of which Docker tells the driver with
//! the first address that it wants (`RequiresMACAddress`) and again with the endpoint; and its lease tells the endpoint.
//! Lease, veth pair, routes and rules are those of any other attachment, and there is no other record.

mod inside;
mod known;
mod lost;
mod make;
mod moved;
mod ports;
mod remove;
mod reserve;
mod routed;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flatnet_conf::NetworkConf;
use ipnetwork::IpNetwork;

use crate::attachment::ready;
use crate::error::Error;
use crate::kernel::Netlink;
use crate::overlay::last_read::LastRead;
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::stamp::Stamp;
use crate::runtime::folder;
pub use make::{Joined, gateway_of};
pub use moved::Moving;
pub use ports::PublishedPort;
pub use routed::Way;

/// What went wrong, in words for who called Docker.
pub type Outcome<T> = Result<T, String>;

/// The networks of this node, for Docker.
#[derive(Clone, Debug)]
pub struct Endpoints {
    conf_dir: PathBuf,
    /// Each container asks for the pod network that it is in.
    read: LastRead,
}

/// Where Docker may take addresses from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The network's name.
    pub network: String,
    /// What Docker is to show of it, of the family asked for.
    pub subnet: IpNetwork,
}

impl Endpoints {
    /// The networks with a configuration in this folder.
    pub fn new(conf_dir: &Path) -> Self {
        Self { conf_dir: conf_dir.to_owned(), read: LastRead::default() }
    }

    /// The pool of one family of a network: the one that is named, else the one that has `subnet`, else the only
    /// one. Its overlay stands when this returns.
    ///
    /// Without a subnet Docker would ask for another pool for ever, as long as a route leads to the one it gets.
    ///
    /// # Errors
    /// There is none, or several, or no subnet; or it cannot be brought up.
    pub fn pool(
        &self,
        named: Option<&str>,
        subnet: Option<IpNetwork>,
        ipv4: bool,
    ) -> Outcome<Pool> {
        let conf = self.choose(named, subnet)?;
        refuse_delegated(&conf)?;
        let Some(subnet) = subnet else { return Err(self.needs_subnet(&conf, ipv4)) };
        if !self.has(&conf, subnet) {
            let name = &conf.name;
            return Err(format!("--subnet {subnet} is not in the clusterCIDRs of network {name}"));
        }
        let stands = Stands::ensure(&conf).map_err(said)?;
        let network = conf.name;
        let mut own = stands.this.ranges.iter();
        if own.any(|range| range.subnet().is_ipv4() == ipv4) {
            return Ok(Pool { network, subnet });
        }
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        Err(format!("network {network} has no {family} range on this node"))
    }

    fn choose(&self, named: Option<&str>, subnet: Option<IpNetwork>) -> Outcome<NetworkConf> {
        if let Some(name) = named {
            return self.named(name);
        }
        let (mut networks, _) = self.networks()?;
        if let Some(subnet) = subnet {
            networks.retain(|conf| self.has(conf, subnet));
        }
        let folder = self.conf_dir.display();
        match networks.len() {
            1 => Ok(networks.remove(0)),
            0 => Err(match subnet {
                Some(subnet) => format!(
                    "no network of flatnet in {folder} has {subnet} in its clusterCIDRs; \
                     --subnet must be one of these, or a part of it"
                ),
                None => format!("no network of flatnet in {folder}; see `flatnet install --help`"),
            }),
            _ => {
                let names: Vec<_> = networks.iter().map(|conf| conf.name.as_str()).collect();
                let names = names.join(", ");
                Err(format!("which network is it to be? --ipam-opt network=NAME, one of {names}"))
            }
        }
    }

    /// The network of this name.
    fn named(&self, name: &str) -> Outcome<NetworkConf> {
        let (networks, problems) = self.networks()?;
        networks.into_iter().find(|conf| conf.name == name).ok_or_else(|| {
            let folder = self.conf_dir.display();
            let missing = format!("no configuration in {folder} has a network {name} of flatnet");
            because(missing, &problems)
        })
    }

    /// All of them, and what is wrong with files that may have more.
    fn networks(&self) -> Outcome<(Vec<NetworkConf>, Vec<String>)> {
        let (mut networks, mut problems) = (Vec::new(), Vec::new());
        for read in folder::each(&self.conf_dir).map_err(|e| e.to_string())? {
            match read {
                Ok(file) => networks.extend(file.networks),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        problems.iter().for_each(|problem| log::warn!("{problem}"));
        Ok((networks, problems))
    }

    /// The pod network of a network: its clusterCIDRs.
    fn cluster_cidrs(&self, conf: &NetworkConf) -> Result<Vec<IpNetwork>, flatnet_conf::Error> {
        Ok(self.read.load(conf.range_file()?)?.cluster_cidrs.clone())
    }

    fn needs_subnet(&self, conf: &NetworkConf, ipv4: bool) -> String {
        let cidrs = self.cluster_cidrs(conf).unwrap_or_default();
        match cidrs.into_iter().find(|cidr| cidr.is_ipv4() == ipv4) {
            Some(cidr) => format!("--subnet must be given: --subnet {cidr}"),
            None if ipv4 => {
                format!("network {} has no IPv4 addresses, and Docker needs some", conf.name)
            }
            None => format!("network {} has no IPv6 addresses: leave --ipv6 out", conf.name),
        }
    }

    /// Whether a subnet is the network's, all of it.
    fn has(&self, conf: &NetworkConf, subnet: IpNetwork) -> bool {
        self.cluster_cidrs(conf).unwrap_or_default().iter().any(|cidr| {
            cidr.is_ipv4() == subnet.is_ipv4()
                && cidr.prefix() <= subnet.prefix()
                && cidr.contains(subnet.network())
        })
    }
}

/// A network whose overlay stands and which no `remove` takes off the node meanwhile.
struct Stands {
    node: Netlink,
    /// Inode of this network namespace.
    own: u64,
    this: Stamp,
    _lock: NetworkLock,
}

impl Stands {
    fn ensure(conf: &NetworkConf) -> Result<Self, Error> {
        let mut node = Netlink::open()?;
        let own = node.netns().inode()?;
        let _lock = NetworkLock::enter(conf, own)?;
        let this = ready::ensure(&mut node, conf, own)?;
        Ok(Self { node, own, this, _lock })
    }
}

/// Refuses a network whose addresses another plugin gives: it knows containers of CNI alone, and the driver's own
/// leases would give the same addresses a second time.
fn refuse_delegated(conf: &NetworkConf) -> Outcome<()> {
    let Some(ipam) = &conf.ipam else { return Ok(()) };
    let name = &conf.name;
    Err(format!(
        "network {name} has its addresses from the plugin {ipam}, which Docker's containers cannot get any from; \
         leave ipam out of its configuration, or give Docker a network without"
    ))
}

fn said(error: Error) -> String {
    match error.details() {
        details if details.is_empty() => error.to_string(),
        details => format!("{error} ({details})"),
    }
}

/// What is missing, with what may have hidden it.
fn because(missing: String, problems: &[String]) -> String {
    if problems.is_empty() { missing } else { format!("{missing}; {}", problems.join("; ")) }
}

/// The families of addresses: whether one is IPv4.
fn families(addresses: &[IpAddr]) -> Vec<bool> {
    addresses.iter().map(IpAddr::is_ipv4).collect()
}
