//! An etcd with the keys of thousands of nodes, as both networks write them.

use std::time::Instant;

use flatnet_cluster::etcd::members::Etcd;
use flatnet_tests::netns::Netns;
use serde_json::json;

use super::crowd::{self, NETWORK};
use super::ground::Ground;

/// What the network is called.
pub const NAME: &str = "pods";
/// Where flannel keeps what it knows, by default.
const FLANNEL: &str = "/coreos.com/network";
/// etcd takes no more in a transaction.
const AT_ONCE: usize = 128;

/// Its members.
pub struct Store {
    /// Who is asked.
    pub etcd: Etcd,
    /// What it stands on. Ended behind the members.
    pub ground: Ground,
    lease: String,
}

/// A key with its value.
type Key = (String, String);

impl Store {
    /// Starts it, with what flannel wants to know of its network.
    pub fn start() -> Self {
        let ground = Ground::new();
        let host = |name: &str, number| {
            let netns = Netns::new(name);
            ground.underlay.connect(&netns, name, number);
            netns
        };
        let etcd = Etcd::on(&ground.folder().join("etcd"), host, &[]);
        let granted = etcd.ctl(&["lease", "grant", "86400"]);
        let lease = granted.split(' ').nth(1).expect("a lease").to_owned();
        let config = json!({ "Network": NETWORK, "Backend": { "Type": "vxlan" } });
        etcd.ctl(&["put", &format!("{FLANNEL}/config"), &config.to_string()]);
        Self { etcd, ground, lease }
    }

    /// Makes keys of so many nodes; how many bytes a node has in flatnet's.
    pub fn make(&self, count: u32) -> usize {
        let all: Vec<Key> =
            (0..count).flat_map(|index| ours(index).into_iter().chain([flannels(index)])).collect();
        all.chunks(AT_ONCE).for_each(|some| self.put(some));
        ours(0).iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// A node joins, as its agent would have it; when that began.
    pub fn join(&self, index: u32) -> Instant {
        let begun = Instant::now();
        self.put(&ours(index));
        begun
    }

    /// The same, as flannel's daemon on it would have it.
    pub fn join_flannel(&self, index: u32) -> Instant {
        let begun = Instant::now();
        self.put(&[flannels(index)]);
        begun
    }

    /// At once.
    fn put(&self, keys: &[Key]) {
        let put = |(key, value): &Key| {
            format!("put {key} \"{}\" --lease={}\n", value.replace('"', "\\\""), self.lease)
        };
        // No conditions, what is done then, and nothing else.
        let text = format!("\n{}\n\n", keys.iter().map(put).collect::<String>());
        let said = self.etcd.ctl_with(&["txn"], text.as_bytes());
        assert!(said.starts_with("SUCCESS"), "{said}");
    }
}

fn ours(index: u32) -> [Key; 2] {
    let (name, range) = (crowd::name(index), crowd::range(index));
    let block = json!({ "range": range, "node": name, "retiring": false });
    [
        (
            format!("/flatnet/{NAME}/nodes/{name}"),
            json!({ "vtep": crowd::address(index) }).to_string(),
        ),
        (format!("/flatnet/{NAME}/blocks/{}", range.replace('/', "-")), block.to_string()),
    ]
}

fn flannels(index: u32) -> Key {
    let address = crowd::address(index);
    let value = json!({
        "PublicIP": address, "PublicIPv6": null, "BackendType": "vxlan",
        "BackendData": { "VNI": 1, "VtepMAC": crowd::mac(address) },
    });
    let range = crowd::range(index).replace('/', "-");
    (format!("{FLANNEL}/subnets/{range}"), value.to_string())
}
