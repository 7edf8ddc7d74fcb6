//! What stands for the overlay is not what the range file says: an `ip` by hand, a script that restores an
//! older state, a manager that takes a device for its own.

use flatnet_tests::kernel;

use super::scene::{BOTH, Family, Scene};

const SYNC: &str = "flatnet sync";

#[test]
fn overlay_with_another_mtu() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.spoil(&["ip link set flat.4096 mtu 1300"]);
    scene.mended_by_command("flat.4096 has MTU 1300 and should have 1450", SYNC);
    scene.assert_together();
}

#[test]
fn overlay_that_is_down() {
    let scene = Scene::new();
    scene.spoil(&["ip link set flat.4096 down"]);
    scene.cut_off_until(&BOTH, "flat.4096 is down", SYNC);
}

#[test]
fn gone_overlay() {
    let scene = Scene::new();
    scene.spoil(&["ip link del flat.4096"]);
    scene.cut_off_until(&BOTH, "the overlay device flat.4096 is missing", SYNC);
}

/// The others send to the MAC that follows from VNI and VTEP; what comes for it is another host's.
#[test]
fn overlay_with_another_mac() {
    let scene = Scene::new();
    scene.spoil(&["ip link set flat.4096 address 02:00:00:00:00:66"]);
    scene.cut_off_until(&BOTH, "flat.4096 has another MAC than ", SYNC);
}

#[test]
fn overlay_made_by_hand_with_another_vtep() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link del flat.4096",
        "ip link add flat.4096 type vxlan id 4096 dstport 4789 local 192.168.50.77 nolearning",
        "ip link set flat.4096 up",
    ]);
    let words =
        "flat.4096 is not the device that the range file describes, and is to be made again";
    scene.cut_off_until(&BOTH, words, SYNC);
}

#[test]
fn overlay_without_its_address() {
    let scene = Scene::new();
    // With its address go the routes that have it as their source.
    scene.spoil(&["ip addr flush dev flat.4096"]);
    let words = "`ip addr add 10.244.1.0/32 dev flat.4096` is to do";
    scene.cut_off_until(&[Family::V4], words, SYNC);
}

#[test]
fn overlay_without_ipv6() {
    let scene = Scene::new();
    kernel::set_sysctl(&scene.node().netns, "ipv6/conf/flat.4096/disable_ipv6", "1");
    scene.cut_off_until(
        &[Family::V6],
        "`sysctl -w net/ipv6/conf/flat.4096/disable_ipv6=0` is to do",
        SYNC,
    );
}

#[test]
fn missing_route() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.spoil(&["ip route del 10.244.2.0/24"]);
    let words = "missing or wrong: the route to 10.244.2.0/24 of node-b";
    scene.cut_off_until(&[Family::V4], words, SYNC);
}

#[test]
fn a_route_that_leads_to_another_node() {
    let scene = Scene::new();
    let routes = kernel::routes(&scene.node().netns);
    let ours = routes.iter().find(|route| route.dst == "10.244.2.0/24").expect("the route");
    scene.spoil(&[&format!(
        "ip route replace 10.244.2.0/24 via 10.244.9.0 dev flat.4096 onlink metric {} proto 102",
        ours.metric
    )]);
    let words = "missing or wrong: the route to 10.244.2.0/24 of node-b";
    scene.cut_off_until(&[Family::V4], words, SYNC);
}

#[test]
fn stale_fdb_entry() {
    let scene = Scene::new();
    scene.assert_healthy();
    let fdb = kernel::fdb(&scene.node().netns, "flat.4096");
    let (mac, _) = fdb.into_iter().next().expect("an entry");
    scene.spoil(&[&format!("bridge fdb replace {mac} dev flat.4096 dst 192.168.50.66 self")]);
    let words = "stale: the FDB entry of node-b sends to 192.168.50.66 instead of 192.168.50.2";
    scene.cut_off_until(&BOTH, words, SYNC);
}

#[test]
fn missing_fdb_entry() {
    let scene = Scene::new();
    let fdb = kernel::fdb(&scene.node().netns, "flat.4096");
    let (mac, vtep) = fdb.into_iter().next().expect("an entry");
    scene.spoil(&[&format!("bridge fdb del {mac} dev flat.4096 dst {vtep} self")]);
    scene.cut_off_until(&BOTH, "missing or wrong: the FDB entry of node-b", SYNC);
}

/// A node that left, whose entries a restored snapshot brought back.
#[test]
fn entries_of_a_node_that_is_none() {
    let scene = Scene::new();
    scene.spoil(&[
        "bridge fdb add 02:00:00:00:00:66 dev flat.4096 dst 192.168.50.66 self permanent",
    ]);
    scene.mended_by_command(
        "stale: the FDB entry 02:00:00:00:00:66 sends to 192.168.50.66, which is no such node's",
        SYNC,
    );
}

#[test]
fn wrong_neighbour_entry() {
    let scene = Scene::new();
    scene.assert_healthy();
    for (gateway, family) in [("10.244.2.0", Family::V4), ("fd00:10:244:2::", Family::V6)] {
        let mac = "lladdr 02:00:00:00:00:66";
        scene.spoil(&[&format!("ip neigh replace {gateway} {mac} dev flat.4096 nud permanent")]);
        let words = format!("missing or wrong: the neighbour entry {gateway} of node-b");
        scene.cut_off_until(&[family], &words, SYNC);
    }
}
