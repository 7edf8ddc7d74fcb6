//! The network below: a bridge in a namespace of its own, to which all hosts are connected, and a host outside, which
//! is the router of the others.

use flatnet_tests::carrier::Carrier;
use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::kernel;
use flatnet_tests::netns::Netns;

use crate::plan::{OUTSIDE, addresses};

/// The bridge, and who is outside.
#[derive(Debug)]
pub struct Underlay {
    /// A host that knows no pod.
    pub outside: Netns,
    bridge: Netns,
}

impl Underlay {
    /// The network with the host outside alone.
    pub fn new() -> Self {
        let bridge = Netns::new("underlay");
        // A switch solicits no router, from which nodes would learn a neighbour.
        kernel::set_sysctl(&bridge, "ipv6/conf/default/disable_ipv6", "1");
        bridge.exec("ip link add br0 type bridge stp_state 0 forward_delay 0");
        bridge.exec("ip link set br0 up");
        let underlay = Self { outside: Netns::new("outside"), bridge };
        underlay.plug(&underlay.outside, "outside", OUTSIDE);
        underlay
    }

    /// Connects a host, with the addresses of this number.
    pub fn connect(&self, host: &Netns, port: &str, number: u8) {
        self.plug(host, port, number);
        // A host that sends to a service needs a route to it, wherever that leads.
        for router in addresses(OUTSIDE) {
            host.exec(&format!("ip route add default via {router}"));
        }
    }

    /// Takes a host's cable away; one that is gone took its own along, in a moment.
    pub fn unplug(&self, port: &str) {
        self.bridge.attempt(&format!("ip link delete {port}"));
        kernel::wait_until_gone(&self.bridge, port);
    }

    fn plug(&self, host: &Netns, port: &str, number: u8) {
        let [v4, v6] = addresses(number);
        Carrier::Cable.connect(host, &self.bridge, port, 1500, v4);
        host.exec(&format!("ip address add {v6}/64 dev {UNDERLAY} nodad"));
    }
}

impl Default for Underlay {
    fn default() -> Self {
        Self::new()
    }
}
