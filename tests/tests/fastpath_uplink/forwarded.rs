//! A pod that sends on what it gets: what was unwrapped for it at the uplink is encapsulated again like anything else.

use std::net::{IpAddr, UdpSocket};

use flatnet_tests::fast_path::counts;
use flatnet_tests::kernel;
use flatnet_tests::stream::Stream;

use crate::scene::{Scene, with};

/// The port at which the pod in the middle listens for others.
const PORT: u16 = 9000;

#[test]
fn a_pod_that_forwards_loses_nothing() {
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        let [a, b] = scene.nodes();
        let middle = &scene.far;
        kernel::set_sysctl(&middle.netns, "ipv4/ip_forward", "1");
        kernel::set_sysctl(&middle.netns, "ipv6/conf/all/forwarding", "1");
        middle.netns.exec("nft add table inet middle");
        for chain in ["prerouting", "postrouting"] {
            middle.netns.exec(&format!(
                "nft add chain inet middle {chain} {{ type nat hook {chain} priority 0 ; }}"
            ));
        }
        middle.netns.exec("nft add rule inet middle postrouting masquerade");
        for to in scene.beside.addresses() {
            let answering = scene.beside.netns.run(|| UdpSocket::bind((to, 0))).expect("bind");
            let port = answering.local_addr().expect("an address").port();
            let (family, target): (_, String) = match to {
                IpAddr::V4(_) => ("ip", format!("{to}:{port}")),
                IpAddr::V6(_) => ("ip6", format!("[{to}]:{port}")),
            };
            middle.netns.exec(&format!(
                "nft add rule inet middle prerouting meta nfproto {} udp dport {PORT} dnat {family} to {target}",
                if to.is_ipv4() { "ipv4" } else { "ipv6" }
            ));
            let own = (middle.like(to), PORT).into();
            let stream = Stream::between(&scene.near.netns, answering, own);
            stream.warm(&[a, b]);
            stream.goes_on();
            assert_eq!(stream.lost(), 0, "{to}");
            for node in [a, b] {
                assert_eq!(counts(node)["failed"], 0, "{to}: {:?}", counts(node));
            }
        }
    }
}
