//! What is changed, told and put right.

use std::collections::BTreeMap;

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe, snapshot, sync};

type State = BTreeMap<String, Vec<String>>;

/// A node with a peer and a pod, and a pod of a peer.
pub struct Scene {
    pub cluster: Cluster,
    pub pod: Pod,
    pub peer: Pod,
    /// The metric of the routes to `node-b`.
    pub metric: u64,
}

impl Scene {
    pub fn new() -> Self {
        let cluster = Cluster::new(2);
        let (pod, peer) = (cluster.nodes[0].add("pod"), cluster.nodes[1].add("peer"));
        kernel::wait_until_up(&cluster.nodes[0].netns, pod.veth());
        let routes = kernel::routes(&cluster.nodes[0].netns);
        let route = routes.iter().find(|route| route.dst == "10.244.2.0/24").expect("a route");
        let metric = route.metric;
        Self { cluster, pod, peer, metric }
    }

    pub fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// Everything in the node and in its pod.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for netns in [&self.node().netns, &*self.pod.netns] {
            for (view, mut lines) in snapshot::namespace(netns) {
                // The kernel's own link-local address of a pod comes, is tested, and settles in
                // its own time; and what is put back is listed last.
                let of_kernel = ["fe80:", "valid_lft", "33:33:"];
                lines.retain(|line| {
                    line.contains("fe80::1 ") || of_kernel.iter().all(|word| !line.contains(word))
                });
                lines.sort();
                state.insert(format!("{}: {view}", netns.name()), lines);
            }
        }
        for setting in [
            format!("ipv4/conf/{}/rp_filter", self.pod.veth()),
            format!("ipv4/conf/{}/forwarding", self.pod.veth()),
            format!("ipv6/conf/{}/accept_ra", self.pod.veth()),
            "ipv4/conf/flat.4096/forwarding".to_owned(),
            format!("ipv4/conf/{UNDERLAY}/forwarding"),
            "ipv6/conf/all/forwarding".to_owned(),
        ] {
            let value = kernel::sysctl(&self.node().netns, &setting);
            state.insert(setting, vec![value]);
        }
        let features = self.node().netns.exec("ethtool -k flat.4096");
        state.insert("features".into(), features.lines().map(str::to_owned).collect());
        let accept_ra = kernel::sysctl(&self.pod.netns, "ipv6/conf/eth0/accept_ra");
        state.insert("accept_ra in the pod".into(), vec![accept_ra]);
        state
    }

    /// Packets pass both ways, in both families.
    pub fn talk(&self) {
        for address in self.peer.addresses() {
            probe::ping(&self.pod.netns, address);
        }
        for address in self.pod.addresses() {
            probe::ping(&self.peer.netns, address);
        }
    }

    /// Spoils, looks at the plan, applies it, and finds everything as it was. The plan is what is
    /// expected, line by line; in an expectation `PEER-MAC`, `METRIC`, `VETH` ... are filled in.
    pub fn drift(&self, spoil: &[&str], expected: &[&str]) {
        let before = self.state();
        let fill = |text: &str| self.fill(text);
        for line in spoil {
            let line = fill(line);
            match line.strip_prefix("pod: ") {
                Some(line) => self.pod.netns.exec(line),
                None => self.node().netns.exec(&line),
            };
        }
        let spoiled = self.state();
        assert_ne!(spoiled, before, "{spoil:?} spoils nothing");
        let expected: Vec<String> = expected.iter().map(|line| fill(line)).collect();
        assert_eq!(sync::plan(self.node()), expected, "after {spoil:?}");
        let changed = snapshot::difference(&spoiled, &self.state());
        assert_eq!(changed, Vec::<String>::new(), "a dry run changes nothing");

        let told = sync::apply(self.node());
        let told: Vec<&str> = told.lines().skip(1).map(str::trim).collect();
        assert_eq!(told, expected, "what is done is what was planned");
        let left = snapshot::difference(&before, &self.state());
        assert_eq!(left, Vec::<String>::new(), "after {spoil:?}");
        assert_eq!(sync::plan(self.node()), Vec::<String>::new());
    }

    pub fn fill(&self, text: &str) -> String {
        let mac = |netns, dev: &str| {
            let link = kernel::link(netns, dev).unwrap_or_else(|| panic!("no {dev}"));
            link["address"].as_str().expect("a MAC").to_owned()
        };
        let holder = format!(
            "interface eth0 of container {} in {}:",
            self.pod.container_id,
            self.pod.netns.path().display()
        );
        let mut text = text.to_owned();
        let veth = self.pod.veth();
        for (word, value) in [
            ("METRIC", self.metric.to_string()),
            ("PEER-MAC", mac(&self.cluster.nodes[1].netns, "flat.4096")),
            ("OWN-MAC", self.own_mac()),
            ("VETH", veth.to_owned()),
            ("NODE-MAC", self.pod.result["interfaces"][0]["mac"].as_str().expect("a MAC").into()),
            ("POD-MAC", self.pod.result["interfaces"][1]["mac"].as_str().expect("a MAC").into()),
            ("POD4", self.pod.v4().to_string()),
            ("POD6", self.pod.v6().to_string()),
            ("POD:", holder),
            ("ID", self.pod.container_id.clone()),
        ] {
            text = text.replace(word, &value);
        }
        text
    }

    /// The MAC of the node's overlay device, as its peers have it.
    pub fn own_mac(&self) -> String {
        let fdb = kernel::fdb(&self.cluster.nodes[1].netns, "flat.4096");
        let vtep = self.node().vtep;
        fdb.into_iter().find(|(_, to)| *to == vtep).expect("an entry for the node").0
    }
}
