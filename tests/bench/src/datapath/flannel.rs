//! What flannel's daemon (VXLAN backend, iptables) and its plugin put into the kernel, made with the
//! commands that an administrator would use.

use std::net::IpAddr;

use flatnet_tests::kernel::{set_sysctl, wait_until_up};
use flatnet_tests::netns::Netns;

/// Sets up node `n` (1 or 2) with the subnet `10.244.n.0/24`.
pub fn set_up(node: &Netns, n: u8, masquerade: bool) {
    set_sysctl(node, "ipv4/ip_forward", "1");
    let peer = 3 - n;
    let lines = [
        // flannel's own VNI and the port that Linux took before one was assigned.
        format!(
            "ip link add flannel.1 address 02:00:00:00:01:0{n} mtu 1450 type vxlan id 1 \
             local 192.168.50.{n} dev under0 dstport 8472 nolearning"
        ),
        format!("ip addr add 10.244.{n}.0/32 dev flannel.1"),
        "ip link set flannel.1 up".to_owned(),
        format!("ip neigh add 10.244.{peer}.0 lladdr 02:00:00:00:01:0{peer} dev flannel.1"),
        format!("bridge fdb add 02:00:00:00:01:0{peer} dev flannel.1 dst 192.168.50.{peer} self"),
        format!("ip route add 10.244.{peer}.0/24 via 10.244.{peer}.0 dev flannel.1 onlink"),
        "ip link add cni0 mtu 1450 type bridge".to_owned(),
        format!("ip addr add 10.244.{n}.1/24 dev cni0"),
        "ip link set cni0 up".to_owned(),
    ];
    lines.iter().for_each(|line| drop(node.exec(line)));
    forward_rules(node);
    if masquerade {
        masquerade_rules(node, n);
    }
}

/// Chain FLANNEL-FWD, as flannel orders it.
fn forward_rules(node: &Netns) {
    let comment = "-m comment --comment flanneld-forward";
    node.exec("iptables -w -N FLANNEL-FWD");
    node.exec(&format!("iptables -w -A FORWARD {comment} -j FLANNEL-FWD"));
    for side in ["-s", "-d"] {
        node.exec(&format!("iptables -w -A FLANNEL-FWD {side} 10.244.0.0/16 {comment} -j ACCEPT"));
    }
}

/// Chain FLANNEL-POSTRTG, as flannel orders it.
fn masquerade_rules(node: &Netns, n: u8) {
    let (cluster, own) = ("10.244.0.0/16", format!("10.244.{n}.0/24"));
    let comment = "-m comment --comment flanneld-masq";
    node.exec("iptables -w -t nat -N FLANNEL-POSTRTG");
    node.exec(&format!("iptables -w -t nat -A POSTROUTING {comment} -j FLANNEL-POSTRTG"));
    for (matching, target) in [
        // What kube-proxy has marked.
        ("-m mark --mark 0x4000/0x4000".to_owned(), "RETURN"),
        (format!("-s {own} -d {cluster}"), "RETURN"),
        (format!("-s {cluster} -d {own}"), "RETURN"),
        (format!("! -s {cluster} -d {own}"), "RETURN"),
        (format!("-s {cluster} ! -d 224.0.0.0/4"), "MASQUERADE --random-fully"),
        (format!("! -s {cluster} -d {cluster}"), "MASQUERADE --random-fully"),
    ] {
        let rule = format!("{matching} {comment} -j {target}");
        node.exec(&format!("iptables -w -t nat -A FLANNEL-POSTRTG {rule}"));
    }
}

/// Attaches a pod to node `n`'s bridge with the address `10.244.n.last`, as the plugins `flannel` and
/// `bridge` do.
pub fn attach(node: &Netns, n: u8, pod: &Netns, last: u8) -> IpAddr {
    let (port, inside) = (format!("veth{last}"), pod.name());
    node.exec(&format!(
        "ip link add {port} mtu 1450 type veth peer name eth0 mtu 1450 netns {inside}"
    ));
    node.exec(&format!("ip link set {port} master cni0 up"));
    node.exec(&format!("bridge link set dev {port} hairpin on"));
    pod.exec(&format!("ip addr add 10.244.{n}.{last}/24 dev eth0"));
    pod.exec("ip link set eth0 up");
    wait_until_up(node, &port);
    pod.exec(&format!("ip route add default via 10.244.{n}.1"));
    [10, 244, n, last].into()
}
