//! An endpoint is made: the veth pair, both ends on the node. Docker moves the other one.

use std::net::IpAddr;

use flatnet_conf::{Mac, NetworkConf};
use flatnet_ipam::Record;

use super::known::{self, Found, Known, holder, key};
use super::{Endpoints, Moving, Outcome, Stands, Way, because, families, said};
use crate::attachment::ends::{self, Attachment};
use crate::attachment::ready;
use crate::error::Error;
use crate::identity;
use crate::kernel::{Change, Kernel as _, Observe as _};
use crate::overlay::fast_path;
use crate::overlay::gateway::{gateway, gateways};

/// What Docker is to do in the container.
#[derive(Debug)]
pub struct Joined {
    /// The device that it is to move.
    pub device: String,
    /// The gateways of the default routes, one of each family; none where the network is not to have them.
    pub gateways: Vec<IpAddr>,
    /// More routes.
    pub ways: Vec<Way>,
    /// What is left to do when it has moved it.
    pub moving: Moving,
}

impl Endpoints {
    /// Makes the attachment of an endpoint, whose addresses were reserved for this MAC.
    ///
    /// # Errors
    /// They were not, they are taken by now, or the kernel refuses. Nothing is left then.
    pub fn create(&self, endpoint: &str, mac: Mac, addresses: &[IpAddr]) -> Outcome<()> {
        // Of the networks of this node only the one that it is of is brought up.
        let Known { found, problems } = self.all()?;
        let reserved = |found: &Found| {
            let Record { attachment, addresses: held } = &found.record;
            attachment.veth == identity::veth_name(&key(&found.conf.name, mac))
                && addresses.iter().any(|address| held.contains(address))
        };
        let Some(Found { conf, record: earlier, .. }) = found.into_iter().find(reserved) else {
            let missing = format!(
                "no address of a network of flatnet was asked for with MAC {mac}: Docker's network needs both \
                 `--driver flatnet` and `--ipam-driver flatnet`"
            );
            return Err(because(missing, &problems));
        };
        let mut stands = Stands::ensure(&conf).map_err(said)?;
        stands.refuse_another(&earlier, mac, Some(endpoint)).map_err(said)?;
        let (of, id) = (families(addresses), Some((endpoint, None)));
        let grant = stands.lease(&conf, mac, id, &of, addresses.to_vec()).map_err(said)?;
        let made = stands.make(&conf, endpoint, mac, &grant.addresses);
        match &made {
            Ok(()) => grant.commit(),
            Err(_) => match stands.node.delete_link(&identity::veth_name(&key(&conf.name, mac))) {
                Ok(_) => grant.give_back(),
                // The kernel has the addresses.
                Err(left) => {
                    log::warn!("rolling back: {left}");
                    grant.commit();
                }
            },
        }
        made.map_err(said)
    }

    /// Tells what Docker is to do with an endpoint's device for the container whose namespace is to be at this path.
    ///
    /// # Errors
    /// There is no such endpoint, or the kernel refuses.
    pub fn join(&self, endpoint: &str, sandbox: &str) -> Outcome<Joined> {
        let found = self.get(endpoint)?;
        let conf = &found.conf;
        let mut stands = Stands::ensure(conf).map_err(said)?;
        let mac = found.mac(&mut stands)?;
        let addresses = &found.record.addresses;
        let mut gateways = gateways(addresses);
        let ways = self.ways(conf, &gateways)?;
        let (dockers, ours) = match self.is_routed_otherwise(&found, sandbox)? {
            true => (Vec::new(), ways),
            false => (ways, Vec::new()),
        };
        if conf.routes.is_some() || dockers.is_empty() {
            gateways.clear();
        }
        // Before Docker is told, so that no word is missed.
        let moving = Moving::listen(&found, sandbox, ours).map_err(|e| e.to_string())?;
        let (of, id) = (families(addresses), Some((endpoint, Some(sandbox))));
        stands.lease(conf, mac, id, &of, addresses.clone()).map_err(said)?.commit();
        let name = &found.record.attachment.veth;
        let missing = || format!("{name} of endpoint {} is gone", known::short(endpoint));
        let link = stands.node.link(name).map_err(|e| e.to_string())?.ok_or_else(missing)?;
        let finished = stands.node.apply(&link.dev, &[Change::Finish]);
        finished.map_err(|e| e.to_string())?;
        let device = known::pod_end(&found.key());
        Ok(Joined { device, gateways, ways: dockers, moving })
    }
}

impl Found {
    /// The MAC that it is known by, which is that of the container's end.
    fn mac(&self, stands: &mut Stands) -> Outcome<Mac> {
        let id = &self.record.attachment.container_id;
        let digits = id.strip_prefix("docker-").unwrap_or_default().as_bytes();
        let pairs = digits.chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
        if let Ok(mac) = pairs.collect::<Vec<_>>().join(":").parse() {
            return Ok(mac);
        }
        // A lease that was made again: the end is still on the node.
        let end = stands.node.link(&known::pod_end(&self.key())).map_err(|e| e.to_string())?;
        end.and_then(|end| end.mac).ok_or_else(|| "its device is gone".to_owned())
    }
}

impl Stands {
    fn make(
        &mut self,
        conf: &NetworkConf,
        endpoint: &str,
        mac: Mac,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let Self { node, own, this, .. } = self;
        let (this, _lock) = ready::hold(node, conf, *own, this.clone())?;
        let key = key(&conf.name, mac);
        let pod_end = known::pod_end(&key);
        let mut veth = identity::veth(&key);
        veth.pod_mac = mac;
        let attachment = Attachment {
            fast_path: fast_path::of(node.observing(), conf, this.vni, this.programs),
            group: identity::veth_group(this.vni),
            alias: ends::alias(&conf.name, &holder(&conf.name, mac, *own, Some(endpoint))),
            ifname: &pod_end,
            netns: "this node".to_owned(),
            mtu: this.mtu,
            addresses: addresses.to_vec(),
            routes: Vec::new(),
            veth,
        };
        let here = node.netns().try_clone()?;
        let pair = ends::create(node, &here, &attachment)?;
        ends::wire_node(node, &pair.dev, &attachment)
    }
}

/// The gateways that Docker tells of for a pool of this family, which are on no device of the node.
pub fn gateway_of(ipv4: bool) -> IpAddr {
    gateway(ipv4)
}
