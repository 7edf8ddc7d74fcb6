//! Pods that are not as their ADD left them, on either end of their veth pair; and what the books and the
//! range file say of them.

use std::process::Command;

use flatnet_tests::cli::document;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::program::{ours, system};
use flatnet_tests::{kernel, sync};
use serde_json::json;

use super::scene::{BOTH, Family, Scene};

const SYNC: &str = "flatnet sync";
const NOT_WHOLE: &str = "attachments that are not whole: ";

/// One that breaks a pod of the first node; nothing passes in these families until a sync. The doctor names
/// the interface, on either side, and what is to do there; VETH and POD stand for them.
fn broken(spoil: impl Fn(&Scene), families: &[Family], what: &str) {
    let scene = Scene::new();
    spoil(&scene);
    let pod = &scene.pods[0];
    let interface = format!("interface eth0 of container {}", pod.container_id);
    let place = format!("{interface} in {}", pod.netns.path().display());
    let what = what.replace("VETH", pod.veth()).replace("POD", &place);
    let what = what.replace("V4", &pod.v4().to_string());
    scene.cut_off_until(families, &format!("{NOT_WHOLE}{what}"), SYNC);
    scene.node().check(&scene.pods[0]).silent();
}

fn in_pod(scene: &Scene, commands: &[&str]) {
    commands.iter().for_each(|command| drop(scene.pods[0].netns.exec(command)));
}

fn on_node(scene: &Scene, command: &str) {
    scene.spoil(&[&command.replace("VETH", scene.pods[0].veth())]);
}

#[test]
fn a_pod_without_its_route() {
    let spoil = |scene: &Scene| in_pod(scene, &["ip -4 route del default"]);
    let what = "POD (`ip route add default via 169.254.1.1 dev eth0";
    broken(spoil, &[Family::V4], what);
}

#[test]
fn a_pod_without_its_address() {
    let spoil = |scene: &Scene| {
        let own = scene.pods[0].v4();
        in_pod(scene, &[&format!("ip addr del {own}/32 dev eth0")]);
    };
    broken(spoil, &[Family::V4], "POD (`ip addr add V4/32 dev eth0`");
}

#[test]
fn a_pod_that_takes_another_for_its_gateway() {
    let entry = "169.254.1.1 lladdr 02:00:00:00:00:66 dev eth0 nud permanent";
    let spoil = |scene: &Scene| in_pod(scene, &[&format!("ip neigh replace {entry}")]);
    broken(spoil, &[Family::V4], "POD (`ip neigh replace 169.254.1.1 lladdr ");
}

#[test]
fn a_pod_whose_interface_is_down() {
    broken(|scene| in_pod(scene, &["ip link set eth0 down"]), &BOTH, "POD (`");
}

#[test]
fn a_node_s_end_that_is_down() {
    broken(|scene| on_node(scene, "ip link set VETH down"), &BOTH, "VETH (`ip link set VETH up`)");
}

#[test]
fn a_node_s_end_with_another_mac() {
    broken(
        |scene| on_node(scene, "ip link set VETH address 02:00:00:00:00:66"),
        &BOTH,
        "VETH (`ip link set VETH address ",
    );
}

#[test]
fn a_pod_to_which_no_route_leads() {
    let spoil = |scene: &Scene| {
        on_node(scene, &format!("ip route del {} dev VETH", scene.pods[0].v4()));
    };
    broken(spoil, &[Family::V4], "VETH (`ip route add V4/32 dev VETH");
}

#[test]
fn a_pod_that_the_node_takes_for_another() {
    let spoil = |scene: &Scene| {
        let entry = "lladdr 02:00:00:00:00:66 dev VETH nud permanent";
        on_node(scene, &format!("ip neigh replace {} {entry}", scene.pods[0].v4()));
    };
    broken(spoil, &[Family::V4], "VETH (`ip neigh replace V4 lladdr ");
}

#[test]
fn a_node_s_end_that_forwards_nothing() {
    let spoil = |scene: &Scene| {
        let key = format!("ipv4/conf/{}/forwarding", scene.pods[0].veth());
        kernel::set_sysctl(&scene.node().netns, &key, "0");
    };
    broken(spoil, &[Family::V4], "VETH (`sysctl -w net.ipv4.conf.VETH.forwarding=1");
}

/// Packets pass as before, forged ones as well.
#[test]
fn a_node_s_end_without_its_reverse_path_filter() {
    let scene = Scene::new();
    let veth = scene.pods[0].veth();
    kernel::set_sysctl(&scene.node().netns, &format!("ipv4/conf/{veth}/rp_filter"), "0");
    scene.mended_by_command(&format!("{NOT_WHOLE}{veth}"), SYNC);
    assert_eq!(kernel::sysctl(&scene.node().netns, &format!("ipv4/conf/{veth}/rp_filter")), "1");
}

/// Both ends larger than the overlay: what a pod sends at its size does not fit.
#[test]
fn a_pod_with_another_mtu() {
    let scene = Scene::new();
    in_pod(&scene, &["ip link set eth0 mtu 1500"]);
    on_node(&scene, "ip link set VETH mtu 1500");
    scene.mended_by_command(NOT_WHOLE, SYNC);
    scene.assert_together();
}

#[test]
fn full_range() {
    let mut cluster = Cluster::new(2);
    let ranges = |n: u8| vec![format!("10.244.{n}.0/30"), format!("fd00:10:244:{n:x}::/64")];
    cluster.set_ranges(ranges);
    let mut scene = Scene::with(cluster);
    scene.assert_healthy();
    let last = scene.node().add("last");
    scene.pods.push(last);
    scene.advised("no address is left in 10.244.1.0/30", "add another range to node-a in ");
    scene.cluster.set_ranges(|n| [ranges(n), vec![format!("10.244.{n}.128/25")]].concat());
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
    scene.node().add("next");
}

/// The state folder is gone, as after a moved `stateDir`: the pods go on, and the books are made again.
#[test]
fn lost_books() {
    let scene = Scene::new();
    std::fs::remove_dir_all(scene.node().state()).expect("remove the state");
    scene.assert_together();
    let words = format!("1 pod has no lease: {}", scene.pods[0].container_id);
    scene.mended_by_command(&words, SYNC);
    scene.node().check(&scene.pods[0]).silent();
    let next = scene.node().add("next");
    assert!(next.addresses().iter().all(|address| !scene.pods[0].addresses().contains(address)));
}

/// As when a Kubernetes Node is deleted and registered again.
#[test]
fn a_pod_in_what_is_now_another_nodes_range() {
    let mut scene = Scene::new();
    scene.assert_healthy();
    let old: Vec<_> = scene.cluster.nodes.iter().map(|node| node.ranges.clone()).collect();
    let new = ["10.244.7.0/24", "fd00:10:244:7::/64"];
    scene.cluster.nodes[0].ranges = new.into_iter().map(|range| json!(range)).collect();
    scene.cluster.nodes[1].ranges.extend(old[0].clone());
    scene.cluster.list(&[0, 1]);
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let pod = &scene.pods[0];
    let words = format!(
        "2 addresses of pods on node-a in ranges of node-b: {id} ({}), {id} ({})",
        pod.v4(),
        pod.v6(),
        id = pod.container_id
    );
    scene.advised(&words, "give node-a the range back in ");
    for (node, ranges) in scene.cluster.nodes.iter_mut().zip(old) {
        node.ranges = ranges;
    }
    scene.cluster.list(&[0, 1]);
    scene.cluster.nodes.iter().for_each(|node| drop(sync::apply(node)));
    scene.assert_healthy();
    scene.assert_together();
}

#[test]
fn a_state_folder_on_a_full_disk() {
    let scene = Scene::new();
    let state = &scene.node().network.state_dir;
    let doctor = |filled: &str, code| {
        let script = format!(
            r#"{{ cp -a "$1" "$1.kept" && mount -t tmpfs -o size=256k,mode=700 disk "$1" &&
            cp -a "$1.kept/." "$1" && rm -r "$1.kept" && {filled}; }} >&2 && shift && exec "$@""#
        );
        let mut command = Command::new(system("unshare"));
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(state).arg(ours("flatnet"));
        command.args(["doctor", "--json", "--conf-dir"]).arg(scene.net_d());
        command.arg("--cni-bin-dir").arg(scene.bin());
        document(&scene.node().netns.finish(&mut command, b""), code)["findings"].clone()
    };
    assert_eq!(doctor("true", 0), json!([]));
    let findings = doctor(r#"! dd if=/dev/zero of="$1/other" bs=4k"#, 1);
    assert_eq!(findings.as_array().map(Vec::len), Some(1), "{findings:#}");
    let leases = scene.node().state().join("leases").display().to_string();
    let what = findings[0]["what"].as_str().expect("what is wrong");
    let expected = format!("cannot write a lease into {leases}: No space left on device");
    assert!(what.starts_with(&expected), "{what}");
}
