use flatnet_ipam::Key;

use super::*;
use crate::identity;
use crate::kernel::fake::Fake;

fn attachment() -> Attachment<'static> {
    Attachment {
        fast_path: None,
        veth: identity::veth(&Key::new("pods", "c1", "eth0")),
        group: 1,
        alias: "flatnet:pods/-/c1/eth0".into(),
        ifname: "eth0",
        netns: "/run/netns/c1".into(),
        mtu: 1450,
        addresses: vec!["10.1.1.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        routes: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
    }
}

fn words(changes: &[Change], dev: &str) -> Vec<String> {
    changes.iter().map(|change| change.command(dev)).collect()
}

#[test]
fn the_node_routes_each_address_to_the_veth() {
    let attachment = attachment();
    let mac = attachment.veth.pod_mac;
    assert_eq!(
        words(&node_changes(&attachment), "v"),
        [
            "sysctl -w net.ipv4.conf.v.forwarding=1 net.ipv4.conf.v.rp_filter=1".to_owned(),
            "ip link set v addrgenmode none".into(),
            // While it is down: the kernel does not announce it.
            "ip link set v alias \"flatnet:pods/-/c1/eth0\"".into(),
            "ip link set v up".into(),
            "ip route add 10.1.1.7/32 dev v proto 102".into(),
            format!("ip neigh replace 10.1.1.7 lladdr {mac} dev v nud permanent"),
            "ip route add fd00::7/128 dev v proto 102".into(),
            format!("ip neigh replace fd00::7 lladdr {mac} dev v nud permanent"),
        ]
    );
}

#[test]
fn the_fast_paths_filters_are_there_before_it_is_up() {
    let (mut node, own) = (Fake::default(), Netns::own().unwrap());
    let fast_path = Some(FastPath::planned(8));
    let attachment = Attachment { fast_path, ..attachment() };
    let VethPair { dev, .. } = create(&mut node, &own, &attachment).unwrap();
    wire_node(&mut node, &dev, &attachment).unwrap();
    let after = |word: &str| node.log.iter().position(|line| line.contains(word)).unwrap();
    let words = [" alias ", " clsact", " ingress ", " egress ", " up", "ip route add "];
    let places = words.map(after);
    assert!(places.is_sorted(), "{:?}", node.log);
    assert_eq!(places[4] - places[1], 3, "{:?}", node.log);
}

#[test]
fn the_alias_counts_when_all_is_done() {
    let (mut node, own) = (Fake::default(), Netns::own().unwrap());
    let attachment = attachment();
    let VethPair { dev, .. } = create(&mut node, &own, &attachment).unwrap();
    wire_node(&mut node, &dev, &attachment).unwrap();
    assert_eq!(node.links[&dev.name].link.alias, None, "an ADD that is killed here did not end");
    finish(&mut node, &dev, &attachment).unwrap();
    assert_eq!(node.links[&dev.name].link.alias.as_ref(), Some(&attachment.alias));
    let last = node.log.last().unwrap();
    assert!(last.ends_with(" gso_max_segs 65535"), "{last}");
    node.delete_link(&dev.name).unwrap();
    assert_eq!(finish(&mut node, &dev, &attachment).unwrap_err().code(), 104);
}

#[test]
fn the_pod_reaches_everything_through_its_gateway() {
    let attachment = attachment();
    let mac = attachment.veth.node_mac;
    assert_eq!(
        words(&pod_changes(&attachment, 2), "eth0"),
        [
            "ip link set eth0 up".to_owned(),
            "ip addr add 10.1.1.7/32 dev eth0".into(),
            format!("ip neigh replace 169.254.1.1 lladdr {mac} dev eth0 nud permanent"),
            "ip route add 169.254.1.1/32 dev eth0 proto 102 metric 2".into(),
            "ip route add default via 169.254.1.1 dev eth0 proto 102".into(),
            "ip addr add fd00::7/128 dev eth0".into(),
            format!("ip neigh replace fe80::1 lladdr {mac} dev eth0 nud permanent"),
            "ip route add default via fe80::1 dev eth0 proto 102".into(),
        ]
    );
}

#[test]
fn what_an_earlier_add_left_makes_room() {
    let (mut node, own) = (Fake::default(), Netns::own().unwrap());
    let attachment = attachment();
    let first = create(&mut node, &own, &attachment).unwrap();
    let second = create(&mut node, &own, &attachment).unwrap();
    assert_ne!(first.dev.index, second.dev.index);
    assert_eq!(node.links.len(), 1);
}

#[test]
fn what_goes_by_itself_makes_room_too() {
    let (mut node, own) = (Fake::default(), Netns::own().unwrap());
    let attachment = attachment();
    let first = create(&mut node, &own, &attachment).unwrap();
    node.vanishing = Some(attachment.veth.name.clone());
    let second = create(&mut node, &own, &attachment).unwrap();
    assert_ne!(first.dev.index, second.dev.index);
    assert_eq!((node.links.len(), node.vanishing), (1, None));
}

#[test]
fn an_address_that_is_routed_elsewhere_is_an_error() {
    let (mut node, own) = (Fake::default(), Netns::own().unwrap());
    let first = attachment();
    let VethPair { dev, .. } = create(&mut node, &own, &first).unwrap();
    wire_node(&mut node, &dev, &first).unwrap();
    // The fake keeps routes per device, so the second attempt is on the same one.
    let error = wire_node(&mut node, &dev, &first).unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(error.to_string().contains("ip route show proto 102"), "{error}");
}
