//! A node and its pods: a namespace with an underlay address, and containers' namespaces that the
//! plugin attaches.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cni::{Call, Outcome};
use crate::netns::Netns;
use crate::{kernel, snapshot};

/// `gso_max_segs` of a veth whose ADD has not come to its end.
const UNFINISHED: u32 = 65_534;

/// What every node of a cluster shares: one configuration, one range file, one state folder.
#[derive(Clone, Debug)]
pub struct Network {
    /// The configuration as the plugin gets it on standard input.
    pub configuration: Value,
    /// The range file's path.
    pub range_file: PathBuf,
    /// `stateDir` of the configuration.
    pub state_dir: PathBuf,
    /// The VNI of the range file.
    pub vni: u32,
}

impl Network {
    /// The network's name.
    pub fn name(&self) -> &str {
        self.configuration["name"].as_str().expect("a name")
    }
}

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    /// The namespace that plays the node.
    pub netns: Netns,
    /// Its name in the range file.
    pub name: String,
    /// Its underlay address.
    pub vtep: IpAddr,
    /// Its ranges, as the range file has them.
    pub ranges: Vec<Value>,
    /// The network it is in.
    pub network: Network,
}

impl Node {
    /// The overlay device.
    pub fn overlay(&self) -> String {
        format!("flat.{}", self.network.vni)
    }

    /// The folder of this node's leases, lock and stamp.
    pub fn state(&self) -> PathBuf {
        self.network.state_dir.join(self.network.name()).join(&self.name)
    }

    /// Has addresses begin with the first of each family in a network, as if the one before it had just
    /// been given: for a test in which others must be free, or come in their order.
    pub fn begin_with_the_first(&self, network: &str) {
        let folder = self.network.state_dir.join(network).join(&self.name);
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let before = self.vtep_addresses().into_iter();
        let cursor: Value = before
            .map(|address| (if address.is_ipv4() { "4" } else { "6" }.to_owned(), json!(address)))
            .collect();
        fs::write(folder.join("lock"), cursor.to_string()).expect("write the cursor");
    }

    /// Makes the next ADD compare the whole overlay with the kernel, by removing the stamp of the
    /// range file last applied.
    pub fn forget_overlay(&self) {
        let stamp = self.state().join("overlay.json");
        fs::remove_file(&stamp).unwrap_or_else(|error| panic!("{}: {error}", stamp.display()));
    }

    /// Its VTEP addresses in the overlay: the first address of the first range of each family.
    pub fn vtep_addresses(&self) -> Vec<IpAddr> {
        let subnets = self.ranges.iter().map(|range| {
            range.as_str().unwrap_or_else(|| range["subnet"].as_str().expect("a subnet"))
        });
        let mut first: Vec<IpAddr> = Vec::new();
        for subnet in subnets {
            let (address, _) = subnet.split_once('/').expect("a CIDR");
            let address: IpAddr = address.parse().expect("a subnet's address");
            if first.iter().all(|seen| seen.is_ipv4() != address.is_ipv4()) {
                first.push(address);
            }
        }
        first.sort_by_key(IpAddr::is_ipv6);
        first
    }

    /// The leases on disk, as their files have them, in the order of their names.
    pub fn leases(&self) -> Vec<Value> {
        let files = snapshot::folder(&self.state().join("leases")).into_values();
        let parse = |(_, content): (u32, Vec<u8>)| {
            serde_json::from_slice(&content).unwrap_or_else(|_| json!({ "damaged": content }))
        };
        files.map(parse).collect()
    }

    /// Asserts that no attachment is left on this node: no veth, no route to a pod, no lease and no
    /// address taken. The overlay stays.
    pub fn assert_no_attachment(&self) {
        let links = kernel::link_names(&self.netns);
        let left = |name: &&String| name.starts_with("veth") || name.starts_with("bwp");
        assert_eq!(links.iter().find(left), None, "{}: {links:?}", self.name);
        let routes = kernel::routes(&self.netns);
        let overlay = self.overlay();
        assert!(routes.iter().all(|route| route.dev == overlay), "{}: {routes:?}", self.name);
        assert_eq!(self.leases(), Vec::<Value>::new(), "{}", self.name);
        let taken = snapshot::folder(&self.state().join("addresses"));
        assert!(taken.is_empty(), "{}: {:?}", self.name, taken.keys());
    }

    /// This node's entry in the range file.
    pub fn entry(&self) -> Value {
        json!({ "name": self.name, "vtep": self.vtep, "ranges": self.ranges })
    }

    /// A call of the plugin on this node that names no attachment.
    pub fn call(&self, verb: &str) -> Call<'_> {
        Call::new(&self.netns, verb, &self.network.configuration)
    }

    /// A call of the plugin on this node for a pod.
    pub fn call_for(&self, verb: &str, pod: &Pod) -> Call<'_> {
        self.call(verb).attachment(&pod.container_id, &pod.netns.path(), &pod.ifname)
    }

    /// Attaches a fresh pod; fails the test unless ADD succeeds.
    pub fn add(&self, label: &str) -> Pod {
        let mut pod = Pod::new(label);
        self.attach(&mut pod);
        pod
    }

    /// Attaches a pod whose namespace stands already.
    pub fn attach(&self, pod: &mut Pod) {
        pod.result = self.call_for("ADD", pod).run().result();
    }

    /// Attaches a pod that an ADD was killed for: behind a DEL if that came to its end all the same.
    pub fn attach_again(&self, pod: &mut Pod) {
        let outcome = self.call_for("ADD", pod).run();
        if outcome.status().success() {
            pod.result = outcome.result();
            return;
        }
        assert_eq!(outcome.error().code, 102, "{:?}", outcome.error());
        self.del(pod).silent();
        self.attach(pod);
    }

    /// Whether any attachment stands finished on the node.
    pub fn stands_finished(&self) -> bool {
        let names = kernel::link_names(&self.netns).into_iter();
        let links = names.filter(|name| name.starts_with("veth"));
        links
            .filter_map(|name| kernel::link(&self.netns, &name))
            .any(|link| link["ifalias"].is_string() && link["gso_max_segs"] != json!(UNFINISHED))
    }

    /// Leaves an attachment as an ADD leaves it that is killed before its last message.
    pub fn unfinish(&self, pod: &Pod) {
        self.netns.exec(&format!("ip link set {} gso_max_segs {UNFINISHED}", pod.veth()));
    }

    /// CHECK with the result of the pod's ADD.
    pub fn check(&self, pod: &Pod) -> Outcome {
        let mut configuration = self.network.configuration.clone();
        configuration["prevResult"] = pod.result.clone();
        self.call_for("CHECK", pod).stdin(configuration.to_string().as_bytes()).run()
    }

    /// Detaches a pod.
    pub fn del(&self, pod: &Pod) -> Outcome {
        self.call_for("DEL", pod).run()
    }
}

/// A container, as far as a CNI plugin sees one: a namespace and an ID.
#[derive(Debug)]
pub struct Pod {
    /// The container's namespace.
    pub netns: Arc<Netns>,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// What ADD answered; null until then.
    pub result: Value,
}

impl Pod {
    /// A container that no plugin has touched yet.
    pub fn new(label: &str) -> Self {
        let netns = Arc::new(Netns::new(label));
        let container_id = format!("{}-id", netns.name());
        Self { netns, container_id, ifname: "eth0".to_owned(), result: Value::Null }
    }

    /// The same container, for a further interface.
    pub fn again(&self, ifname: &str) -> Self {
        let (netns, container_id) = (self.netns.clone(), self.container_id.clone());
        Self { netns, container_id, ifname: ifname.to_owned(), result: Value::Null }
    }

    /// The addresses ADD answered, without their prefix.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let entries = self.result["ips"].as_array().expect("an attached pod");
        entries
            .iter()
            .map(|entry| without_prefix(entry["address"].as_str().expect("a CIDR")))
            .collect()
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.addresses().into_iter().find(IpAddr::is_ipv4).expect("an IPv4 address")
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.addresses().into_iter().find(IpAddr::is_ipv6).expect("an IPv6 address")
    }

    /// Its address of the same family.
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4() } else { self.v6() }
    }

    /// The name of the veth's end on the node.
    pub fn veth(&self) -> &str {
        self.result["interfaces"][0]["name"].as_str().expect("an attached pod")
    }
}

/// The address of `10.244.1.1/32`.
fn without_prefix(cidr: &str) -> IpAddr {
    let (address, _) = cidr.split_once('/').expect("an address with a prefix");
    address.parse().expect("an address")
}
