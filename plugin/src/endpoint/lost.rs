//! An endpoint of which no book tells, because they are lost, or its configuration is gone or cannot be read at this
//! moment: what the kernel shows of it is enough to remove it, and to know what its ports were published by.

use flatnet_conf::NetworkConf;
use flatnet_ipam::Record;

use super::known::{Found, IFNAME, Known, container_id, short};
use super::{Endpoints, Outcome, said};
use crate::attachment::dockers::DOCKER;
use crate::attachment::unleased;
use crate::error::Error;
use crate::kernel::{Link, LinkKind, Netlink, Observe as _};

impl Endpoints {
    /// The attachment of an endpoint, as far as anything tells of it.
    ///
    /// # Errors
    /// There is none, but something could not be read that may know of it.
    pub(super) fn find(&self, endpoint: &str) -> Outcome<Option<Found>> {
        let Known { found, problems } = self.all()?;
        let known = found.into_iter().find(|found| found.is_of(endpoint));
        let found = match known {
            Some(found) => Some(found),
            None => self.shown(endpoint).map_err(said)?,
        };
        match found {
            None if !problems.is_empty() => {
                let endpoint = short(endpoint);
                Err(format!(
                    "it is not known whether there is an endpoint {endpoint}: {}",
                    problems.join("; ")
                ))
            }
            found => Ok(found),
        }
    }

    /// By the alias of the node's end, in which its network and endpoint are.
    fn shown(&self, endpoint: &str) -> Result<Option<Found>, Error> {
        let mut node = Netlink::open()?;
        let own = node.netns().inode()?;
        let end = node.links()?.into_iter().find_map(|link| {
            let network = network(&link, &short(endpoint))?.to_owned();
            Some((link, network))
        });
        let Some((link, network)) = end else { return Ok(None) };
        let conf =
            self.named(&network).or_else(|_| NetworkConf::lost(&network).map_err(Error::from));
        let conf = conf?;
        let mut books = Known::default();
        books.read(&conf, own);
        if let Some(found) = books.found.into_iter().find(|found| found.is_of(endpoint)) {
            return Ok(Some(found));
        }
        let neighbours = node.neighbours(link.dev.index)?;
        let records = unleased::records(&mut node, &network, &[link])?;
        Ok(records.into_iter().next().map(|mut record: Record| {
            let mac = neighbours.first().map(|pod| pod.mac);
            record.attachment.container_id = mac.map(container_id).unwrap_or_default();
            record.attachment.netns = own;
            Found { conf, node: None, record }
        }))
    }
}

/// The network of the endpoint that a node's end is of, if it is that one's.
fn network<'a>(link: &'a Link, endpoint: &str) -> Option<&'a str> {
    let alias = link.alias.as_deref().filter(|_| link.kind == LinkKind::Veth)?;
    let network = alias.strip_prefix("flatnet:")?.strip_suffix(IFNAME)?.strip_suffix('/')?;
    network.strip_suffix(endpoint)?.strip_suffix('/')?.strip_suffix(DOCKER)?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::ends;
    use crate::endpoint::known::holder;
    use crate::kernel::fake::Fake;

    #[test]
    fn an_endpoint_is_known_by_its_alias() {
        let endpoint = "3f".repeat(32);
        let mac = flatnet_conf::Mac([2, 0x42, 10, 1, 1, 7]);
        let alias = ends::alias("pods", &holder("pods", mac, 7, Some(&endpoint)));
        let mut node = Fake::default();
        node.add("veth1", 1450, &[], LinkKind::Veth);
        let mut of = |alias: &str, kind: LinkKind, endpoint: &str| {
            let link = &mut node.links.get_mut("veth1").unwrap().link;
            (link.alias, link.kind) = (Some(alias.to_owned()), kind);
            network(link, &short(endpoint)).map(str::to_owned)
        };
        assert_eq!(of(&alias, LinkKind::Veth, &endpoint).as_deref(), Some("pods"));
        assert_eq!(of(&alias, LinkKind::Veth, &"3e".repeat(32)), None);
        assert_eq!(of(&alias, LinkKind::Other("dummy".into()), &endpoint), None);
        for other in
            ["flatnet:pods/-/3f3f3f3f3f3f3f3f/eth0", "pods/docker:/3f3f3f3f3f3f3f3f/eth0", "eth0"]
        {
            assert_eq!(of(other, LinkKind::Veth, &endpoint), None, "{other}");
        }
    }
}
