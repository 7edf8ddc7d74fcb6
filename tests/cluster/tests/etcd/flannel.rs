//! Nodes whose network is flannel's, with its subnets in the same etcd, move to flatnet one after the other, as
//! docs/etcd.md has it, while pods of the others talk.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use flatnet_cluster::daemon::Daemon;
use flatnet_cluster::etcd::agents::Fleet;
use flatnet_cluster::machine::PATH;
use flatnet_cluster::patience::until;
use flatnet_cluster::{network, tools};
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::kernel;
use flatnet_tests::node::Pod;
use flatnet_tests::probe::Flow;
use flatnet_tests::program::{finish, ours, said};
use serde_json::{Value, json};

use crate::AFTER;

const PREFIX: &str = "/coreos.com/network";

/// flannel on a node: its daemon, and the configuration that its CNI plugin would make of what the daemon writes down.
struct Flannel {
    daemon: Daemon,
    /// `10.244.7.0/24`
    subnet: String,
    bridge: Value,
}

impl Flannel {
    fn start(fleet: &Fleet, index: usize) -> Self {
        let node = fleet.node(index);
        let own = fleet.cluster.folder().join(&node.name);
        let written = own.join("subnet.env");
        let mut command = Command::new(tools::built("flanneld").join("flanneld"));
        command.env_clear().env("PATH", PATH).args(["-iface", UNDERLAY]);
        command
            .arg("-etcd-endpoints")
            .arg(fleet.etcd.endpoints())
            .arg("-subnet-file")
            .arg(&written);
        for (option, file) in [
            ("-etcd-cafile", "ca.crt"),
            ("-etcd-certfile", "agent.crt"),
            ("-etcd-keyfile", "agent.key"),
        ] {
            command.arg(option).arg(fleet.etcd.certificates.file(file));
        }
        command.arg("-iptables-forward-rules=false");
        let mut daemon = node.netns.run(|| Daemon::start("flannel", &own, &mut command));
        let [gateway, mtu] = until("subnet of flannel", || {
            daemon.check()?;
            let text = fs::read_to_string(&written).map_err(|error| error.to_string())?;
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.map(str::to_owned).ok_or_else(|| format!("no {key} in {text}"))
            };
            Ok([value("FLANNEL_SUBNET")?, value("FLANNEL_MTU")?])
        });
        let gateway: ipnetwork::IpNetwork = gateway.parse().expect("an address with its prefix");
        let subnet = format!("{}/{}", gateway.network(), gateway.prefix());
        let bridge = json!({
            "cniVersion": "1.0.0",
            "name": "cbr0",
            "type": "bridge",
            "hairpinMode": true,
            "isDefaultGateway": true,
            "mtu": mtu.parse::<u32>().expect("an MTU"),
            "ipam": {
                "type": "host-local",
                "dataDir": own.join("networks"),
                "ranges": [[{ "subnet": subnet }]],
                "routes": [{ "dst": "10.244.0.0/16" }],
            },
        });
        Self { daemon, subnet, bridge }
    }

    fn call(
        &self,
        fleet: &Fleet,
        index: usize,
        verb: &str,
        pod: &Pod,
    ) -> flatnet_tests::cni::Outcome {
        let mut call = fleet.node(index).call_for(verb, pod);
        call =
            call.program(tools::plugins().join("bridge")).stdin(self.bridge.to_string().as_bytes());
        call.env("CNI_PATH", &tools::plugins().display().to_string()).run()
    }

    fn add(&self, fleet: &Fleet, index: usize) -> Pod {
        let mut pod = Pod::new("pod");
        pod.result = self.call(fleet, index, "ADD", &pod).result();
        pod
    }
}

/// Does something while pods of two nodes talk, of whose packets none is lost.
fn undisturbed(from: &Pod, to: &Pod, work: impl FnOnce()) {
    let flow = Flow::start(&from.netns, &to.netns, to.v4());
    work();
    let tally = flow.finish(AFTER);
    println!("{} of {} packets were answered", tally.answered, tally.sent);
    assert_eq!(tally.answered, tally.sent, "{tally:?}");
}

/// A node moves: its pod of flannel's ends, and one of flatnet's comes.
fn moves(fleet: &Fleet, index: usize, flannel: Flannel, pod: &Pod) -> Pod {
    flannel.call(fleet, index, "DEL", pod).silent();
    let Flannel { daemon, subnet, .. } = flannel;
    daemon.stop();
    let key = subnet.replace('/', "-");
    let commands = network::commands("docs/etcd.md", "ip link delete flannel.1");
    let commands = commands.replace("10.244.7.0-24", &key);
    let mut shell = Command::new("bash");
    shell.args(["-euc", &commands]).env("PATH", PATH).envs(fleet.etcd.variables("agent"));
    let output = fleet.node(index).netns.run(|| finish(&mut shell, b""));
    assert!(output.status.success(), "{}", said(&output));
    let new = fleet.node(index).add("pod");
    assert!(of(&subnet, new.v4()), "{} is not of {subnet}", new.v4());
    new
}

fn of(subnet: &str, address: IpAddr) -> bool {
    subnet.parse::<ipnetwork::IpNetwork>().expect("a subnet").contains(address)
}

fn all_reach_all(pods: [&Pod; 3]) {
    for from in pods {
        pods.iter().for_each(|to| Fleet::until_reached(from, to));
    }
}

#[test]
fn nodes_of_flannel_move_one_by_one() {
    let mut fleet = Fleet::new(3, &[]);
    fleet.network["clusterCIDRs"] = json!(["10.244.0.0/16"]);
    let config = json!({ "Network": "10.244.0.0/16", "Backend": { "Type": "vxlan" } });
    fleet.etcd.ctl(&["put", &format!("{PREFIX}/config"), &config.to_string()]);
    let flannels: [Flannel; 3] = [0, 1, 2].map(|index| Flannel::start(&fleet, index));
    let subnets: Vec<String> = flannels.iter().map(|flannel| flannel.subnet.clone()).collect();
    let [mut a, mut b, mut c] = [0, 1, 2].map(|index| flannels[index].add(&fleet, index));
    all_reach_all([&a, &b, &c]);

    // flatnet comes beside it; whoever talks goes on by flannel.
    let hosts: PathBuf = fleet.cluster.folder().join("hosts");
    let name = |n: usize| format!("192.168.50.{} {}\n", n + 1, fleet.node(n).name);
    fs::write(&hosts, (0..3).map(name).collect::<String>()).expect("write names");
    undisturbed(&a, &b, || {
        let arguments = ["import", "--flannel", "--hosts", &hosts.display().to_string()];
        let imported = fleet.administers(&arguments);
        assert!(imported.starts_with("3 nodes with 3 ranges: 6 keys are written"), "{imported}");
        fleet.start_all();
        for index in 0..3 {
            fleet.until_listed(index, &["node-a", "node-b", "node-c"]);
        }
    });
    for (index, node) in fleet.cluster.nodes.iter().enumerate() {
        let ranges = fleet.ranges(0);
        assert_eq!(ranges[&node.name], [subnets[index].clone()]);
        until("routes", || match node.netns.exec("ip -4 route show proto 102") {
            routes if routes.matches(" via ").count() == 2 => Ok(()),
            routes => Err(format!("{}: {routes}", node.name)),
        });
    }
    all_reach_all([&a, &b, &c]);

    let [of_a, of_b, of_c] = flannels;
    undisturbed(&a, &b, || {
        c = moves(&fleet, 2, of_c, &c);
        all_reach_all([&a, &b, &c]);
    });
    undisturbed(&b, &c, || {
        a = moves(&fleet, 0, of_a, &a);
        all_reach_all([&a, &b, &c]);
    });
    undisturbed(&a, &c, || {
        b = moves(&fleet, 1, of_b, &b);
        all_reach_all([&a, &b, &c]);
    });

    for node in &fleet.cluster.nodes {
        let links = kernel::link_names(&node.netns);
        assert!(
            !links.iter().any(|link| link.contains("cni0") || link.contains("flannel")),
            "{links:?}"
        );
        let routes = node.netns.exec("ip route");
        assert!(!routes.contains("flannel") && !routes.contains("cni0"), "{routes}");
        let net_d = fleet.cluster.folder().join(&node.name).join("net.d");
        until("nothing to do", || {
            let mut sync = Command::new(ours("flatnet"));
            sync.args(["sync", "--dry-run", "--conf-dir"]).arg(&net_d);
            let output = node.netns.run(|| finish(&mut sync, b""));
            let done = output.status.success();
            if done { Ok(()) } else { Err(format!("{}: {}", node.name, said(&output))) }
        });
    }
    assert!(fleet.administers(&["check"]).contains("nothing wrong"));
}
