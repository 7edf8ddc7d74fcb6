//! Addresses for an endpoint that is still to come. Docker asks for one of each family by itself.

use std::net::IpAddr;

use flatnet_conf::{Mac, NetworkConf};
use flatnet_ipam::{Leases, Record};

use super::known::{self, holder, key};
use super::{Endpoints, Outcome, Stands, families, refuse_delegated, said};
use crate::attachment::grant::Grant;
use crate::error::Error;
use crate::kernel::Observe as _;

impl Endpoints {
    /// Takes an address of a family for the interface that is to have this MAC: the one that is `wanted`, else
    /// any. Asked again it is the same.
    ///
    /// # Errors
    /// It is taken or not this node's, none is left, or another endpoint of the network has the MAC.
    pub fn reserve(
        &self,
        network: &str,
        mac: Mac,
        ipv4: bool,
        wanted: Option<IpAddr>,
    ) -> Outcome<IpAddr> {
        let conf = self.named(network)?;
        refuse_delegated(&conf)?;
        let mut stands = Stands::ensure(&conf).map_err(said)?;
        let earlier = lease(&conf, &stands, mac).map_err(said)?;
        if let Some(earlier) = &earlier {
            stands.refuse_another(earlier, mac, None).map_err(said)?;
        }
        let held = earlier.map(|earlier| earlier.addresses).unwrap_or_default();
        let mut asked: Vec<IpAddr> =
            held.iter().copied().filter(|has| has.is_ipv4() != ipv4).collect();
        let mut of = families(&asked);
        of.push(ipv4);
        asked.extend(wanted);
        let grant = stands.lease(&conf, mac, None, &of, asked).map_err(said)?;
        let given = grant.addresses.iter().copied().find(|address| address.is_ipv4() == ipv4);
        grant.commit();
        given.ok_or_else(|| format!("network {network} has no such range on this node"))
    }

    /// Gives back an address that no endpoint has come for. One of an endpoint goes with that.
    ///
    /// # Errors
    /// The books cannot be read or written.
    pub fn release(&self, network: &str, address: IpAddr) -> Outcome<()> {
        let reserved = |found: &known::Found| {
            let record = &found.record;
            found.conf.name == network
                && record.attachment.pod.name.is_none()
                && record.addresses.contains(&address)
        };
        match self.all()?.found.into_iter().find(reserved) {
            Some(found) => self.detach(&found),
            None => Ok(()),
        }
    }
}

/// The lease of the interface with this MAC.
fn lease(conf: &NetworkConf, stands: &Stands, mac: Mac) -> Result<Option<Record>, Error> {
    let leases = Leases::create(&conf.state_dir, &conf.name, &stands.this.node)?;
    Ok(leases.get(&key(&conf.name, mac))?)
}

impl Stands {
    /// Refuses a MAC that another endpoint of the network has: the two would be one attachment.
    pub(super) fn refuse_another(
        &mut self,
        earlier: &Record,
        mac: Mac,
        endpoint: Option<&str>,
    ) -> Result<(), Error> {
        let holder = &earlier.attachment;
        let same = holder.pod.name == endpoint.map(known::short);
        if same || holder.pod.name.is_none() || self.node.link(&holder.veth)?.is_none() {
            return Ok(());
        }
        let name = holder.pod.name.as_deref().unwrap_or_default();
        Err(Error::Configuration {
            reason: format!("MAC {mac} is in use by endpoint {name} of this network on this node"),
        })
    }

    /// Takes addresses of these families, these if any are asked for.
    pub(super) fn lease<'a>(
        &mut self,
        conf: &NetworkConf,
        mac: Mac,
        endpoint: Option<(&str, Option<&str>)>,
        families: &[bool],
        asked: Vec<IpAddr>,
    ) -> Result<Grant<'a>, Error> {
        let mut this = self.this.clone();
        this.ranges.retain(|range| families.contains(&range.subnet().is_ipv4()));
        let conf = NetworkConf { requested_ips: asked, ..conf.clone() };
        let mut holder = holder(&conf.name, mac, self.own, endpoint.map(|(id, _)| id));
        holder.sandbox = endpoint.and_then(|(_, sandbox)| sandbox).map(str::to_owned);
        Grant::lease(&mut self.node, &conf, &this, &key(&conf.name, mac), &holder)
    }
}
