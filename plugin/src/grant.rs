//! The addresses of an attachment, wherever they come from: a lease of our own, or a delegate.

use std::net::IpAddr;

use flatnet_conf::{Dns, NetworkConf};
use flatnet_ipam::{Attachment as Holder, Key, Lease, Leases, Request};
use ipnetwork::IpNetwork;

use crate::delegate::{self, Delegate};
use crate::error::Error;
use crate::kernel::Kernel;
use crate::living::lives;
use crate::stamp::Stamp;

/// Addresses that are this attachment's until they are given back.
pub struct Grant<'a> {
    /// At most one of each family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Destinations that a delegate wants routed, if it named any.
    pub routes: Option<Vec<IpNetwork>>,
    /// A delegate's name resolution.
    pub dns: Dns,
    source: Source<'a>,
}

enum Source<'a> {
    Lease(Box<Lease>),
    Delegate(Delegate<'a>),
}

impl<'a> Grant<'a> {
    /// Takes addresses from this node's ranges.
    ///
    /// # Errors
    /// Those of [`Leases::allocate`].
    pub fn lease(
        node: &mut dyn Kernel,
        conf: &NetworkConf,
        this: &Stamp,
        key: &Key,
        holder: &Holder,
    ) -> Result<Self, Error> {
        let leases = Leases::create(&conf.state_dir, &conf.name, &this.node)?;
        let request =
            Request { attachment: holder, ranges: &this.ranges, requested: &conf.requested_ips };
        let lease = leases.allocate(key, &request, &mut |candidate| lives(node, candidate))?;
        let addresses = lease.addresses().to_vec();
        Ok(Self {
            addresses,
            routes: None,
            dns: Dns::default(),
            source: Source::Lease(Box::new(lease)),
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
            source: Source::Delegate(delegate),
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

    /// Keeps them: the attachment stands.
    pub fn commit(self) {
        if let Source::Lease(lease) = self.source {
            lease.commit();
        }
    }

    /// Gives them back. What fails is logged: it comes after another failure, which is the one to
    /// report, and is left to the next DEL or GC.
    pub fn give_back(self) {
        let given_back = match self.source {
            Source::Lease(lease) => lease.release().map_err(Error::from),
            Source::Delegate(delegate) => delegate.run("DEL"),
        };
        if let Err(e) = given_back {
            log::warn!("rolling back: {e}");
        }
    }
}
