//! A pod that fills the memory of flows: what others say arrives all the same, and to no one else.

use std::net::{IpAddr, SocketAddr};

use flatnet_tests::fast_path::counts;
use flatnet_tests::frame::{Mac, ethernet, udp};
use flatnet_tests::kernel;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::raw::Port;
use flatnet_tests::stream::Stream;

use crate::scene::Scene;

/// More flows than there is room for (`max_entries` of `flows_map` in `plugin/bpf/maps.h`).
const FLOWS: u32 = 80_000;

/// A pod that sends whatever it likes.
struct Forger {
    port: Port,
    gateway: Mac,
    own: IpAddr,
}

impl Forger {
    fn of(node: &Node, pod: &Pod) -> Self {
        let gateway = kernel::mac(&node.netns, pod.veth());
        Self { port: Port::open(&pod.netns, "eth0"), gateway, own: pod.v4() }
    }

    fn say(&self, port: u16, to: &Self, to_port: u16) {
        let (from, to) = (SocketAddr::from((self.own, port)), SocketAddr::from((to.own, to_port)));
        self.port.send(&ethernet(self.gateway, self.port.mac, &udp(from, to, b"x")));
    }
}

#[test]
fn who_opens_more_flows_than_there_is_room_for_harms_no_other() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let streams = scene.warm_streams();
    let attackers = [(a, a.add("attacker")), (b, b.add("accomplice"))];
    let [attacker, accomplice] = attackers.each_ref().map(|(node, pod)| Forger::of(node, pod));
    // Who answers is not asked: it has no program at these ports.
    attackers.iter().for_each(|(_, pod)| {
        pod.netns.exec("nft add table inet quiet");
        pod.netns.exec(
            "nft add chain inet quiet input { type filter hook input priority 0 ; policy drop ; }",
        );
    });
    let before = counts(a)["learned"];
    for n in 0..FLOWS {
        let (port, to) = ((n % 60_000 + 1024) as u16, (n / 60_000 + 7000) as u16);
        attacker.say(port, &accomplice, to);
        accomplice.say(to, &attacker, port);
        attacker.say(port, &accomplice, to);
        if n % 20_000 == 0 {
            streams.iter().for_each(Stream::goes_on);
        }
    }
    let learned = counts(a)["learned"] - before;
    assert!(learned > u64::from(FLOWS), "{learned} learned, in two directions");
    streams.iter().for_each(Stream::goes_on);
    // They come back.
    streams.iter().for_each(|stream| stream.warm(&[a, b][..1]));
    for stream in streams {
        let name = format!("{} to {}", stream.client, stream.server);
        assert_eq!(stream.lost(), 0, "{name}");
    }
}
