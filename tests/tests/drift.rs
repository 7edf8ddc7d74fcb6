//! What flatnet made is changed: `flatnet sync` tells the difference, in the words of ip(8),
//! and restores it, and nothing else.

use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::event::Monitor;
use flatnet_tests::node::Pod;
use flatnet_tests::{kernel, probe, snapshot, sync};

#[path = "drift/scene.rs"]
mod scene;

use scene::Scene;

#[test]
fn the_overlay_device_is_put_right() {
    let scene = Scene::new();
    assert_eq!(sync::plan(scene.node()), Vec::<String>::new(), "an ADD leaves nothing to do");
    scene.drift(
        &["ip link set flat.4096 address 02:00:00:00:00:99"],
        // The kernel has dropped the neighbours with the MAC.
        &[
            "ip link set flat.4096 address OWN-MAC",
            "ip neigh replace 10.244.2.0 lladdr PEER-MAC dev flat.4096 nud permanent",
            "ip neigh replace fd00:10:244:2:: lladdr PEER-MAC dev flat.4096 nud permanent",
        ],
    );
    scene.drift(&["ip link set flat.4096 mtu 1400"], &["ip link set flat.4096 mtu 1450"]);
    scene.drift(&["ip link set flat.4096 group 0"], &["ip link set flat.4096 group 1728057344"]);
    scene.drift(&["ethtool -K flat.4096 gro on"], &["ethtool -K flat.4096 gro off"]);
}

#[test]
fn routes_neighbours_and_fdb_entries_are_put_right() {
    let scene = Scene::new();
    let route =
        "10.244.2.0/24 via 10.244.2.0 dev flat.4096 onlink proto 102 src 10.244.1.0 metric METRIC";
    let put = &format!("ip route replace {route}")[..];
    scene.drift(&["ip route del 10.244.2.0/24"], &[put]);
    let elsewhere =
        "ip route replace 10.244.2.0/24 via 10.244.66.0 dev flat.4096 onlink metric METRIC";
    scene.drift(&[&format!("{elsewhere} proto 102")], &[put]);
    // Also if its owner's number was lost on the way.
    scene.drift(&[elsewhere], &[put]);
    scene.drift(
        &["ip -6 route del fd00:10:244:2::/64"],
        &["ip route replace fd00:10:244:2::/64 via fd00:10:244:2:: dev flat.4096 onlink proto 102 src fd00:10:244:1:: metric METRIC"],
    );
    let neighbour = "ip neigh replace 10.244.2.0 lladdr PEER-MAC dev flat.4096 nud permanent";
    scene.drift(&["ip neigh del 10.244.2.0 dev flat.4096"], &[neighbour]);
    scene.drift(
        &["ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 dev flat.4096 nud permanent"],
        &[neighbour],
    );
    let entry = "bridge fdb replace PEER-MAC dev flat.4096 dst 192.168.50.2 self permanent";
    scene.drift(&["bridge fdb del PEER-MAC dev flat.4096 dst 192.168.50.2 self"], &[entry]);
    scene.drift(&["bridge fdb replace PEER-MAC dev flat.4096 dst 192.168.50.66 self"], &[entry]);
    scene.drift(
        &["bridge fdb add 02:00:00:00:00:99 dev flat.4096 dst 192.168.50.66 self"],
        &["bridge fdb delete 02:00:00:00:00:99 dev flat.4096 dst 192.168.50.66 self"],
    );
    scene.talk();
}

#[test]
fn packet_filter_rules_and_settings_are_put_right() {
    let scene = Scene::new();
    scene.drift(
        &["nft delete element inet flatnet vteps-4096 { 192.168.50.2 }"],
        &["nft (table inet flatnet) add elements of set vteps-4096"],
    );
    scene.drift(
        &["nft flush chain inet flatnet output-4096"],
        &[
            "nft (table inet flatnet) flush chain output-4096",
            "nft (table inet flatnet) add rule \"pods: by a program\" to chain output-4096",
            "nft (table inet flatnet) add rule \"pods: overlay packet\" to chain output-4096",
        ],
    );
    let off = |setting: &str| format!("sysctl -qw {setting}=0");
    scene.drift(
        &[&off(&format!("net.ipv4.conf.{UNDERLAY}.forwarding"))],
        &[&format!("sysctl -w net/ipv4/conf/{UNDERLAY}/forwarding=1")],
    );
    scene.drift(
        &["sysctl -qw net/ipv4/conf/flat.4096/forwarding=0"],
        &["sysctl -w net.ipv4.conf.flat.4096.forwarding=1 net.ipv4.conf.flat.4096.rp_filter=2"],
    );
    scene.talk();
}

#[test]
fn a_pods_ends_are_put_right() {
    let scene = Scene::new();
    let veth = "net/ipv4/conf/VETH";
    let forward = "sysctl -w net.ipv4.conf.VETH.forwarding=1 net.ipv4.conf.VETH.rp_filter=1";
    for (spoil, mend) in [
        ("ip route del POD4 dev VETH", "ip route add POD4/32 dev VETH proto 102"),
        ("ip -6 route del POD6 dev VETH", "ip route add POD6/128 dev VETH proto 102"),
        (
            "ip neigh del POD4 dev VETH",
            "ip neigh replace POD4 lladdr POD-MAC dev VETH nud permanent",
        ),
        (
            "ip neigh replace POD6 lladdr 02:00:00:00:00:99 dev VETH nud permanent",
            "ip neigh replace POD6 lladdr POD-MAC dev VETH nud permanent",
        ),
        (&format!("sysctl -qw {veth}/rp_filter=0"), forward),
        (&format!("sysctl -qw {veth}/forwarding=0"), forward),
        ("sysctl -qw net/ipv6/conf/VETH/accept_ra=2", "sysctl -w net/ipv6/conf/VETH/accept_ra=0"),
        ("ip link set VETH group 7", "ip link set VETH group 1711280128"),
        ("ip link set VETH alias mine", "ip link set VETH alias \"flatnet:pods/-/ID/eth0\""),
    ] {
        scene.drift(&[spoil], &[mend]);
    }
    scene.drift(
        &["ip link set VETH address 02:00:00:00:00:99"],
        // The kernel has dropped the neighbours with the MAC.
        &[
            "ip link set VETH address NODE-MAC",
            "ip neigh replace POD4 lladdr POD-MAC dev VETH nud permanent",
            "ip neigh replace POD6 lladdr POD-MAC dev VETH nud permanent",
        ],
    );
    for (spoil, mend) in [
        ("ip route del default", "ip route add default via 169.254.1.1 dev eth0 proto 102"),
        (
            "ip route replace default via 10.244.66.9 dev eth0 onlink",
            "ip route replace default via 169.254.1.1 dev eth0 proto 102",
        ),
        ("ip -6 route del default", "ip route add default via fe80::1 dev eth0 proto 102"),
        (
            "ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
            "ip neigh replace 169.254.1.1 lladdr NODE-MAC dev eth0 nud permanent",
        ),
        ("ip addr del POD6/128 dev eth0", "ip addr add POD6/128 dev eth0"),
        ("sysctl -qw net/ipv6/conf/eth0/accept_ra=1", "sysctl -w net/ipv6/conf/eth0/accept_ra=0"),
        ("ip link set eth0 mtu 1500", "ip link set eth0 mtu 1450"),
    ] {
        scene.drift(&[&format!("pod: {spoil}")], &["POD:", mend]);
    }
    scene.talk();
}

#[test]
fn what_goes_down_comes_up_whole() {
    let scene = Scene::new();
    let ends = [(&scene.node().netns, "flat.4096"), (&scene.node().netns, scene.pod.veth())];
    for (netns, dev) in ends.into_iter().chain([(&*scene.pod.netns, "eth0")]) {
        for and_up in [false, true] {
            let before = scene.state();
            netns.exec(&format!("ip link set {dev} down"));
            if and_up {
                netns.exec(&format!("ip link set {dev} up"));
            }
            assert_ne!(sync::plan(scene.node()), Vec::<String>::new(), "{dev}");
            sync::apply(scene.node());
            // Until the kernel has reported an end as up, what it sends is dropped.
            kernel::wait_until_up(&scene.node().netns, scene.pod.veth());
            kernel::wait_until_up(&scene.pod.netns, "eth0");
            scene.talk();
            let left = snapshot::difference(&before, &scene.state());
            assert_eq!(left, Vec::<String>::new(), "{dev}, up again: {and_up}");
        }
    }
    // The underlay's device may come and go: nothing of ours hangs on it.
    scene.node().netns.exec(&format!("ip link set {UNDERLAY} down"));
    scene.node().netns.exec(&format!("ip link set {UNDERLAY} up"));
    kernel::wait_until_up(&scene.node().netns, UNDERLAY);
    assert_eq!(sync::plan(scene.node()), Vec::<String>::new());
    scene.talk();
}

#[test]
fn a_device_that_is_gone_or_another_is_made_anew() {
    let scene = Scene::new();
    let recreate = |how: &str| format!("ip link add flat.4096 type vxlan {how}");
    for spoil in [
        vec!["ip link del flat.4096".to_owned()],
        vec![
            "ip link del flat.4096".to_owned(),
            recreate("id 4096 local 192.168.50.1 dstport 8472 nolearning"),
        ],
        vec!["nft delete table inet flatnet".to_owned(), "ip link del flat.4096".to_owned()],
    ] {
        let mut before = scene.state();
        spoil.iter().for_each(|line| drop(scene.node().netns.exec(line)));
        let planned = sync::plan(scene.node());
        assert!(
            planned.iter().any(|line| line.starts_with("ip link add flat.4096 ")),
            "{planned:?}"
        );
        let told = sync::apply(scene.node());
        assert!(told.contains(&format!("{} changes made", planned.len())), "{told}");
        scene.talk();
        // A new device has a new index, and its objects are listed in another order.
        let mut after = scene.state();
        for state in [&mut before, &mut after] {
            for lines in state.values_mut() {
                for line in lines.iter_mut() {
                    let (index, rest) = line.split_once(": ").unwrap_or(("", line));
                    if index.parse::<u32>().is_ok() && rest.starts_with("flat.4096") {
                        *line = rest.to_owned();
                    }
                }
                lines.sort();
            }
        }
        let left = snapshot::difference(&before, &after);
        assert_eq!(left, Vec::<String>::new(), "{spoil:?}");
        assert_eq!(sync::plan(scene.node()), Vec::<String>::new());
    }
}

#[test]
fn a_changed_file_is_applied_without_a_pod() {
    let mut cluster = Cluster::new(3);
    cluster.list(&[0, 1]);
    let pods = [cluster.nodes[0].add("left"), cluster.nodes[1].add("right")];
    cluster.list(&[0, 1, 2]);
    let third = cluster.nodes[2].add("third");
    for node in &cluster.nodes[..2] {
        let planned = sync::plan(node);
        // Two families: one FDB entry, two neighbours, two routes, and the VTEP in the rules.
        assert_eq!(planned.len(), 6, "{planned:?}");
        sync::apply(node);
    }
    for pod in &pods {
        third.addresses().iter().for_each(|address| probe::ping(&pod.netns, *address));
    }
    // A node moves.
    let moved = &mut cluster.nodes[1];
    moved.netns.exec(&format!("ip addr del 192.168.50.2/24 dev {UNDERLAY}"));
    moved.netns.exec(&format!("ip addr add 192.168.50.77/24 dev {UNDERLAY}"));
    moved.vtep = [192, 168, 50, 77].into();
    cluster.list(&[0, 1, 2]);
    cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    for address in pods[1].addresses() {
        probe::ping(&pods[0].netns, address);
        probe::ping(&third.netns, address);
    }
}

#[test]
fn a_change_of_the_underlays_mtu_reaches_living_pods() {
    let scene = Scene::new();
    // A pod whose MTU a plugin later in the chain has made smaller keeps it.
    let small = scene.node().add("small");
    small.netns.exec("ip link set eth0 mtu 1300");
    let pods = [&scene.pod, &small];
    let mtu = |pod: &Pod| kernel::link(&pod.netns, "eth0").expect("eth0")["mtu"].clone();
    for (underlay, expected, of_small) in [(1400, 1350, 1300), (1500, 1450, 1300)] {
        for node in &scene.cluster.nodes {
            node.netns.exec(&format!("ip link set {UNDERLAY} mtu {underlay}"));
        }
        sync::apply(scene.node());
        sync::apply(&scene.cluster.nodes[1]);
        assert_eq!(pods.map(mtu), [expected, of_small]);
        let largest = u32::try_from(expected).expect("an MTU");
        for address in scene.peer.addresses() {
            let fits = probe::ping_of_size(&scene.pod.netns, address, largest);
            assert!(fits.status.success(), "{fits:?}");
            let over = probe::ping_of_size(&scene.pod.netns, address, largest + 1);
            assert!(!over.status.success(), "{over:?}");
        }
        assert_eq!(sync::plan(scene.node()), Vec::<String>::new());
    }
}

#[test]
fn an_add_puts_right_what_would_keep_its_pod_from_talking() {
    let scene = Scene::new();
    scene.cluster.settle();
    // Writes the stamp that says so.
    sync::apply(scene.node());
    for spoil in [
        "ip link del flat.4096",
        "ip link set flat.4096 down",
        "ip link set flat.4096 mtu 1400",
        "ip link set flat.4096 address 02:00:00:00:00:99",
        "nft flush ruleset",
        "nft flush table inet flatnet",
    ] {
        scene.node().netns.exec(spoil);
        if spoil.ends_with("down") {
            scene.node().netns.exec("ip link set flat.4096 up");
        }
        assert_ne!(sync::plan(scene.node()), Vec::<String>::new(), "{spoil}");
        let pod = scene.node().add("after");
        for address in scene.peer.addresses() {
            probe::ping(&pod.netns, address);
        }
        scene.node().del(&pod).silent();
        assert_eq!(sync::plan(scene.node()), Vec::<String>::new(), "{spoil}");
    }
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let scene = Scene::new();
    let monitor = Monitor::start(&scene.node().netns);
    let told = sync::apply(scene.node());
    assert_eq!(told, "pods on node-a: in sync\n");
    // A change of the test's own shows that the monitor hears.
    scene.node().netns.exec(&format!("ip addr add 192.168.50.9/32 dev {UNDERLAY}"));
    let events = monitor.events();
    assert!(!events.is_empty() && events.iter().all(|e| e.contains("192.168.50.9")), "{events:?}");
}

#[test]
fn a_foreign_device_in_the_way_is_an_error_and_stays() {
    let scene = Scene::new();
    scene.node().netns.exec("ip link del flat.4096");
    scene.node().netns.exec("ip link add vx type vxlan id 4096 dstport 4789 local 192.168.50.1");
    let output = sync::sync(scene.node(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("vx already has VNI 4096"), "{complaint}");
    assert!(kernel::link(&scene.node().netns, "vx").is_some());
}
