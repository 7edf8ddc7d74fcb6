//! Range files that cannot be applied, and what is in their way.

use std::net::{IpAddr, UdpSocket};

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::netns::Netns;
use flatnet_tests::node::Node;
use serde_json::{Value, json};

/// What the refused range files ask for.
const VNI: u32 = 5000;
const UDP: u16 = 4999;

/// What is in the way of a range file, as long as it lives.
pub enum Obstacle {
    Devices(Vec<&'static str>),
    Program(UdpSocket),
    Elsewhere(Netns),
    Nothing,
}

impl Obstacle {
    fn devices(node: &Netns, lines: &[&str], names: &[&'static str]) -> Self {
        lines.iter().for_each(|line| drop(node.exec(line)));
        Self::Devices(names.to_vec())
    }

    /// A VXLAN device that was made on the node and is on in another namespace, as Docker's are.
    fn hidden(node: &Netns, kind: &str) -> Self {
        let elsewhere = Netns::new("elsewhere");
        node.exec(&format!("ip link add hidden0 type vxlan {kind} nolearning"));
        node.exec(&format!("ip link set hidden0 netns {}", elsewhere.name()));
        elsewhere.exec("ip link set hidden0 up");
        Self::Elsewhere(elsewhere)
    }

    fn program(node: &Netns, address: IpAddr) -> Self {
        Self::Program(node.run(|| UdpSocket::bind((address, UDP))).expect("bind the port"))
    }

    pub fn clear(self, node: &Netns) {
        match self {
            Self::Devices(names) => {
                names.iter().for_each(|name| drop(node.exec(&format!("ip link del {name}"))));
            }
            Self::Program(socket) => drop(socket),
            // The kernel would take it away some time after its namespace, and the next case have it still.
            Self::Elsewhere(netns) => drop(netns.exec("ip link del hidden0")),
            Self::Nothing => {}
        }
    }
}

/// One range file that cannot be applied: what is in the way, the file, and what is said of it.
pub type Case = (&'static str, fn(&Node) -> Obstacle, Value, u64, &'static str);

pub fn cases() -> Vec<Case> {
    fn any(node: &Node) -> IpAddr {
        if node.vtep.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }
    }
    fn with(node: &Node, line: &str, name: &'static str) -> Obstacle {
        let local = node.vtep.to_string();
        let lines = [line.replace("VTEP", &local), format!("ip link set {name} up")];
        Obstacle::devices(&node.netns, &[&lines[0], &lines[1]], [name].as_slice())
    }
    let external: fn(&Node) -> Obstacle =
        |node| with(node, "ip link add vx0 type vxlan external dstport 4999", "vx0");
    let gbp: fn(&Node) -> Obstacle = |node| {
        with(node, "ip link add vx0 type vxlan id 9 local VTEP dstport 4999 gbp nolearning", "vx0")
    };
    let hidden: fn(&Node) -> Obstacle = |node| {
        let kind = format!("id 9 local {} dstport 4999 gbp", node.vtep);
        Obstacle::hidden(&node.netns, &kind)
    };
    let program: fn(&Node) -> Obstacle = |node| Obstacle::program(&node.netns, any(node));
    let port = json!({ "port": UDP });
    let both = json!({ "port": UDP, "vni": VNI });
    let by_program = "UDP port 4999 is taken by another program";
    let by_device = "UDP port 4999 is taken by the VXLAN device vx0, with other options";
    vec![
        (
            "a VNI that another device has",
            |node| {
                let line = "ip link add vx0 type vxlan id 5000 local VTEP dstport 4789 nolearning";
                with(node, line, "vx0")
            },
            json!({ "vni": VNI }),
            104,
            "the VXLAN device vx0 already has VNI 5000 (UDP port 4789)",
        ),
        (
            "a VNI that a device has which is seen nowhere",
            |node| {
                let kind = format!("id 5000 local {} dstport 4789", node.vtep);
                Obstacle::hidden(&node.netns, &kind)
            },
            json!({ "vni": VNI }),
            104,
            "is in another network namespace now has VNI 5000",
        ),
        (
            "a VNI whose device's name is taken",
            |node| {
                let line = "ip link add flat.5000 type bridge";
                Obstacle::devices(&node.netns, &[line], &["flat.5000"])
            },
            json!({ "vni": VNI }),
            104,
            "flat.5000 is no VXLAN device",
        ),
        ("a port that a program has", program, port.clone(), 104, by_program),
        ("a port and a VNI, the port a program's", program, both.clone(), 104, by_program),
        (
            "a port that a program has at one address",
            |node| Obstacle::program(&node.netns, node.vtep),
            port.clone(),
            104,
            by_program,
        ),
        ("a port that an external device has", external, port.clone(), 104, by_device),
        ("a port and a VNI, the port an external device's", external, both.clone(), 104, by_device),
        ("a port that a device with gbp has", gbp, port.clone(), 104, by_device),
        ("a port that a device has which is seen nowhere", hidden, port, 104, by_program),
        ("a port and a VNI, the port a hidden device's", hidden, both, 104, by_program),
        (
            "a VNI, and too small an MTU",
            |node| {
                node.netns.exec(&format!("ip link set {UNDERLAY} mtu 1290"));
                Obstacle::Nothing
            },
            json!({ "vni": VNI }),
            7,
            "bytes for pods",
        ),
    ]
}
