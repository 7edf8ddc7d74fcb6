//! Whose an attachment is, and where to find it again.

use flatnet_conf::{Mac, NetworkConf};
use flatnet_ipam::{Holder, Key, Leases, Pod, Record};

use super::{Endpoints, Outcome, because};
use crate::attachment::dockers::{DOCKER, is_dockers};
use crate::identity;
use crate::kernel::Netlink;

/// What the interface is called in a container that is in one network; Docker numbers others itself.
pub const IFNAME: &str = "eth0";
/// Of an endpoint's ID, a hash of 64 digits.
const DIGITS: usize = 16;

/// The key of the attachment with this MAC.
pub fn key(network: &str, mac: Mac) -> Key {
    Key::new(network, &container_id(mac), IFNAME)
}

/// What an attachment with this MAC has for a container's ID.
pub fn container_id(mac: Mac) -> String {
    format!("docker-{}", mac.to_string().replace(':', ""))
}

/// Of an endpoint's ID, what is written down.
pub fn short(endpoint: &str) -> String {
    endpoint.chars().take(DIGITS).collect()
}

/// Who holds an attachment's lease: an endpoint, or one that is still to come.
pub fn holder(network: &str, mac: Mac, netns: u64, endpoint: Option<&str>) -> Holder {
    Holder {
        container_id: container_id(mac),
        ifname: IFNAME.to_owned(),
        veth: identity::veth_name(&key(network, mac)),
        netns,
        pod: Pod { namespace: Some(DOCKER.to_owned()), name: endpoint.map(short), uid: None },
        sandbox: None,
        is_shaped: false,
    }
}

/// Name of the device that Docker moves into the container, while it is on the node.
pub fn pod_end(key: &Key) -> String {
    format!("pod{}", key.head())
}

/// An attachment that was found.
#[derive(Debug)]
pub struct Found {
    /// Its network.
    pub conf: NetworkConf,
    /// The node's name when it was made; `None` if no lease tells.
    pub node: Option<String>,
    /// Its lease, or what the kernel shows instead.
    pub record: Record,
}

impl Found {
    /// The key that its lease is filed under.
    pub fn key(&self) -> Key {
        identity::key(&self.conf.name, &self.record.attachment)
    }

    /// Whether it is this endpoint's.
    pub fn is_of(&self, endpoint: &str) -> bool {
        self.record.attachment.pod.name == Some(short(endpoint))
    }
}

/// Docker's attachments on this node, as the books tell.
#[derive(Debug, Default)]
pub struct Known {
    /// Those of all networks that can be read.
    pub found: Vec<Found>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Known {
    /// Reads the books of a network, made in the node's network namespace of this inode.
    pub fn read(&mut self, conf: &NetworkConf, own: u64) {
        let ours =
            |record: &Record| is_dockers(&record.attachment) && record.attachment.netns == own;
        for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
            let listed = leases.and_then(|leases| Ok((leases.list()?.leases, leases)));
            match listed {
                Ok((listed, leases)) => {
                    let found = |record| Found {
                        conf: conf.clone(),
                        node: Some(leases.node().to_owned()),
                        record,
                    };
                    self.found.extend(listed.into_iter().filter(ours).map(found));
                }
                Err(e) => self.problems.push(e.to_string()),
            }
        }
    }
}

impl Endpoints {
    /// All of Docker's attachments on this node. A network that cannot be read hides no other.
    pub(super) fn all(&self) -> Outcome<Known> {
        let own =
            Netlink::open().and_then(|node| node.netns().inode()).map_err(|e| e.to_string())?;
        let (networks, problems) =
            self.networks().unwrap_or_else(|problem| (Vec::new(), vec![problem]));
        let mut known = Known { found: Vec::new(), problems };
        networks.iter().for_each(|conf| known.read(conf, own));
        Ok(known)
    }

    /// The attachment of an endpoint, which must be there.
    pub(super) fn get(&self, endpoint: &str) -> Outcome<Found> {
        let Known { found, problems } = self.all()?;
        let missing = || format!("endpoint {} has no lease of flatnet's", short(endpoint));
        let found = found.into_iter().find(|found| found.is_of(endpoint));
        found.ok_or_else(|| because(missing(), &problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_known_by_its_mac() {
        let mac = Mac([2, 0x42, 10, 1, 1, 7]);
        let reserved = holder("pods", mac, 7, None);
        let made = holder("pods", mac, 7, Some(&"3f".repeat(32)));
        assert_eq!(identity::key("pods", &reserved), key("pods", mac));
        assert_eq!(identity::key("pods", &made), key("pods", mac));
        assert_eq!(made.pod.name.as_deref(), Some("3f3f3f3f3f3f3f3f"));
        assert_eq!(
            made.to_string(),
            "interface eth0 of container docker-02420a010107 (pod docker:/3f3f3f3f3f3f3f3f)"
        );
        assert!(is_dockers(&made) && !is_dockers(&Holder::default()));
        assert!(pod_end(&key("pods", mac)).len() < 16);
    }
}
