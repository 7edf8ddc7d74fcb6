//! The addresses of an attachment, wherever they come from: a lease of our own, or a delegate.

use std::cell::RefCell;
use std::net::IpAddr;

use flatnet_conf::{Dns, NetworkConf, Range};
use flatnet_ipam::{Holder, Key, Lease, Leases, Request};
use ipnetwork::IpNetwork;

use crate::attachment::delegate::{self, Delegate};
use crate::attachment::living::lives;
use crate::error::Error;
use crate::kernel::{Claim, Observe};
use crate::overlay::agent;
use crate::overlay::own_addresses;
use crate::overlay::stamp::Stamp;

/// Addresses that are this attachment's until they are given back.
pub struct Grant<'a> {
    /// At most one of each family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Destinations that a delegate wants routed, if it named any.
    pub routes: Option<Vec<IpNetwork>>,
    /// A delegate's name resolution.
    pub dns: Dns,
    source: Giver<'a>,
}

enum Giver<'a> {
    Lease(Box<Lease>),
    Delegate(Delegate<'a>),
}

impl<'a> Grant<'a> {
    /// Takes addresses from this node's ranges, none that the node itself has.
    ///
    /// # Errors
    /// Those of [`Leases::allocate`].
    pub fn lease(
        node: &mut dyn Observe,
        conf: &NetworkConf,
        this: &Stamp,
        key: &Key,
        holder: &Holder,
    ) -> Result<Self, Error> {
        let ranges = narrow(&this.ranges, &conf.ip_ranges)?;
        let leases = Leases::create(&conf.state_dir, &conf.name, &this.node)?;
        let request =
            Request { attachment: holder, ranges: &ranges, requested: &conf.requested_ips };
        let node = RefCell::new(node);
        let allocated = leases.allocate(
            key,
            &request,
            &mut |candidate| lives(*node.borrow_mut(), candidate),
            &mut |address| taken(*node.borrow_mut(), address, &holder.veth),
        );
        let lease = allocated.map_err(|error| agent::advised(conf, error.into()))?;
        let addresses = lease.addresses().to_vec();
        Ok(Self {
            addresses,
            routes: None,
            dns: Dns::default(),
            source: Giver::Lease(Box::new(lease)),
        })
    }

    /// Has another plugin give addresses.
    ///
    /// # Errors
    /// Its own, or that pods of this node cannot have what it gave; then it has taken them back.
    pub fn delegate(
        delegate: Delegate<'a>,
        conf: &NetworkConf,
        this: &Stamp,
    ) -> Result<Self, Error> {
        let result = delegate.add(conf.cni_version)?;
        let routes: Vec<_> = result.routes.iter().map(|route| route.dst).collect();
        let mut grant = Self {
            addresses: Vec::new(),
            routes: Some(routes).filter(|routes| !routes.is_empty()),
            dns: result.dns.clone(),
            source: Giver::Delegate(delegate),
        };
        match delegate::addresses(&result, &this.ranges) {
            Ok(addresses) => {
                grant.addresses = addresses;
                Ok(grant)
            }
            Err(e) => {
                grant.give_back();
                Err(e)
            }
        }
    }

    /// Makes sure that they are still this node's: other ranges may have come while they were asked for.
    ///
    /// # Errors
    /// Code 11 if one is not.
    pub fn fits(&self, this: &Stamp) -> Result<(), Error> {
        let is_ours = |address: &&IpAddr| this.ranges.iter().any(|range| range.contains(**address));
        match self.addresses.iter().find(|address| !is_ours(address)) {
            None => Ok(()),
            Some(address) => {
                Err(Error::Changed { what: format!("{address} is not in this node's ranges") })
            }
        }
    }

    /// Keeps them: the attachment stands.
    pub fn commit(self) {
        if let Giver::Lease(lease) = self.source {
            lease.commit();
        }
    }

    /// Gives them back. What fails is logged: it comes after another failure, which is the one to
    /// report, and is left to the next DEL or GC.
    pub fn give_back(self) {
        let given_back = match self.source {
            Giver::Lease(lease) => lease.release().map_err(Error::from),
            Giver::Delegate(delegate) => delegate.run("DEL"),
        };
        if let Err(e) = given_back {
            log::warn!("rolling back: {e}");
        }
    }
}

/// What has an address although no lease says so. The node itself, by a bridge that another plugin has
/// left behind, say: packets to it are the node's, whatever route leads to a pod. Or a pod whose lease
/// is lost: a host route leads to it. In doubt nothing has it: the pod's host route will show.
///
/// `veth` is the attachment's own, which may be left from an ADD that was killed.
fn taken(node: &mut dyn Observe, address: IpAddr, veth: &str) -> Option<String> {
    match node.claim(address).ok()?? {
        Claim::Machine => {
            let named = own_addresses::within(node, &[address.into()]).unwrap_or_default();
            Some(match named.first() {
                Some((_, dev)) => format!("{dev}, a device of this node"),
                None => "this node, as a broadcast address".into(),
            })
        }
        Claim::Route(dev) => {
            let link = node.link_by_index(dev).ok()??;
            let whose = link.alias.map(|alias| format!(" ({alias})")).unwrap_or_default();
            let name = link.dev.name;
            (name != veth).then(|| format!("{name}{whose}, to which a route leads"))
        }
    }
}

/// The parts of the node's ranges that the runtime asks for; all of them in a family in which it asks for none.
///
/// # Errors
/// Code 7 if it asks for what is not this node's.
fn narrow(own: &[Range], asked: &[Range]) -> Result<Vec<Range>, Error> {
    let mut ranges = Vec::with_capacity(asked.len() + own.len());
    for part in asked {
        let whole = own.iter().find(|range| {
            range.subnet().prefix() <= part.subnet().prefix()
                && range.contains(part.subnet().network())
        });
        let Some(whole) = whole else {
            let all: Vec<_> = own.iter().map(|range| range.subnet().to_string()).collect();
            return Err(Error::Configuration {
                reason: format!(
                    "runtimeConfig.ipRanges: {} is not in this node's ranges ({})",
                    part.subnet(),
                    all.join(", ")
                ),
            });
        };
        // As a part of the node's range it keeps what is excluded there.
        let start = part.start().max(whole.start());
        let end = part.end().min(whole.end());
        let exclude = whole.exclude().to_vec();
        ranges.push(Range::new(whole.subnet(), Some(start), Some(end), exclude)?);
    }
    let asks = |ipv4| asked.iter().any(|part| part.subnet().is_ipv4() == ipv4);
    ranges.extend(own.iter().filter(|range| !asks(range.subnet().is_ipv4())).cloned());
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Change, Kernel as _, LinkKind, Route};

    fn range(subnet: &str, start: &str, end: &str, exclude: &[&str]) -> Range {
        let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let exclude = exclude.iter().map(|text| text.parse().unwrap()).collect();
        Range::new(subnet.parse().unwrap(), address(start), address(end), exclude).unwrap()
    }

    #[test]
    fn an_address_that_a_pod_without_a_lease_has_is_taken() {
        let mut node = Fake::default();
        node.add("veth1", 1450, &[], LinkKind::Veth);
        let dev = node.links["veth1"].link.dev.clone();
        for address in ["10.1.1.7", "fd00::7"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(taken(&mut node, address, "veth0"), None, "free");
            let (gateway, onlink, source, metric) = (None, false, None, None);
            let route = Route { dst: address.into(), gateway, onlink, source, metric };
            node.apply(&dev, &[Change::AddRoute(route)]).unwrap();
            let by = taken(&mut node, address, "veth0");
            assert_eq!(by.as_deref(), Some("veth1, to which a route leads"));
            assert_eq!(taken(&mut node, address, "veth1"), None, "its own, of an earlier ADD");
        }
        node.apply(&dev, &[Change::Alias("flatnet:pods/-/c1/eth0".into())]).unwrap();
        let by = taken(&mut node, "10.1.1.7".parse().unwrap(), "veth0");
        let whose = "veth1 (flatnet:pods/-/c1/eth0), to which a route leads";
        assert_eq!(by.as_deref(), Some(whose));
        node.add("cni0", 1500, &["10.1.1.1/24"], LinkKind::Other("bridge".into()));
        let by = taken(&mut node, "10.1.1.1".parse().unwrap(), "veth0");
        assert_eq!(by.as_deref(), Some("cni0, a device of this node"));
    }

    #[test]
    fn a_part_keeps_the_rules_of_the_whole() {
        let other = range("fd00::/64", "", "", &[]);
        let own = [range("10.1.1.0/24", "10.1.1.20", "", &["10.1.1.64/28"]), other.clone()];
        let asked = [range("10.1.1.0/25", "10.1.1.10", "", &[])];
        let expected = range("10.1.1.0/24", "10.1.1.20", "10.1.1.127", &["10.1.1.64/28"]);
        assert_eq!(narrow(&own, &asked).unwrap(), [expected, other], "the other family's as it is");
        assert_eq!(narrow(&own, &[]).unwrap(), own);
    }

    #[test]
    fn another_nodes_range_cannot_be_asked_for() {
        let own = [Range::parse("10.1.1.0/24").unwrap()];
        for other in ["10.1.2.0/24", "10.1.0.0/16"] {
            let error = narrow(&own, &[Range::parse(other).unwrap()]).unwrap_err();
            assert_eq!(error.code(), 7);
            let expected = format!(
                "runtimeConfig.ipRanges: {other} is not in this node's ranges (10.1.1.0/24)"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}
