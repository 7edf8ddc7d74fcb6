//! Others that have what the overlay needs: its VNI, or its UDP port.

use std::net::UdpSocket;

use flatnet_tests::netns::Netns;

use super::scene::{BOTH, Scene};

/// A machine that has just booted, on which another was first.
fn occupied(commands: &[&str]) -> Scene {
    let scene = Scene::new();
    scene.spoil(&["ip link del flat.4096"]);
    scene.spoil(commands);
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let sync = scene.flatnet("sync", &[]);
    assert_eq!(sync.status.code(), Some(2), "sync alone does not help: {sync:?}");
    scene
}

/// Does what the doctor advises.
fn mend(scene: &Scene, remove: &str) {
    scene.run(remove);
    scene.run(&format!("flatnet sync --conf-dir {}", scene.net_d().display()));
    scene.assert_healthy();
    scene.assert_together();
}

#[test]
fn a_device_with_our_vni() {
    let scene = occupied(&[
        "ip link add flannel.1 type vxlan id 4096 dstport 4789 nolearning",
        "ip link set flannel.1 up",
    ]);
    let remove = "ip link del flannel.1";
    let words = "the VXLAN device flannel.1 already has VNI 4096 (UDP port 4789)";
    scene.advised(
        words,
        &format!(
            "give this network another vni in the range file, or remove that device ({remove})"
        ),
    );
    mend(&scene, remove);
}

/// One with our VNI at another port hinders no network.
#[test]
fn a_device_with_our_vni_at_another_port() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link set flat.4096 down",
        "ip link add flannel.1 type vxlan id 4096 dstport 8472 nolearning",
        "ip link set flannel.1 up",
    ]);
    scene.cut_off_until(&BOTH, "flat.4096 is down", "flatnet sync");
}

/// As Open vSwitch makes one for all its tunnels.
#[test]
fn an_external_device_at_our_port() {
    let scene = occupied(&[
        "ip link add vxlan_sys_4789 type vxlan external dstport 4789",
        "ip link set vxlan_sys_4789 up",
    ]);
    let remove = "ip link del vxlan_sys_4789";
    scene.advised("UDP port 4789 is taken by the VXLAN device vxlan_sys_4789", remove);
    mend(&scene, remove);
}

/// A namespace into which a device goes that was made on the node.
fn moved(scene: &Scene, dev: &str) -> Netns {
    let netns = Netns::new("swarm");
    scene.spoil(&[&format!("ip link set {dev} netns {}", netns.name())]);
    netns.exec(&format!("ip link set {dev} up"));
    netns
}

/// As those of Docker's overlay networks: the kernel counts a device where it was made.
#[test]
fn a_device_with_our_vni_in_another_namespace() {
    let scene = Scene::new();
    scene.spoil(&[
        "ip link del flat.4096",
        "ip link add vx0 type vxlan id 4096 dstport 4789 nolearning",
    ]);
    let swarm = moved(&scene, "vx0");
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let place = swarm.path().display().to_string();
    let remove = format!("nsenter --net={place} ip link del vx0");
    let words =
        format!("the VXLAN device vx0 in the network namespace {place} already has VNI 4096");
    scene.advised(&words, &remove);
    mend(&scene, &remove);
}

#[test]
fn an_external_device_in_another_namespace() {
    let scene = Scene::new();
    scene.spoil(&["ip link del flat.4096", "ip link add vx0 type vxlan external dstport 4789"]);
    let swarm = moved(&scene, "vx0");
    BOTH.iter().for_each(|family| scene.assert_apart(*family));
    let place = swarm.path().display().to_string();
    let remove = format!("nsenter --net={place} ip link del vx0");
    let words =
        format!("UDP port 4789 is taken by the VXLAN device vx0 in the network namespace {place}");
    scene.advised(&words, &remove);
    mend(&scene, &remove);
}

/// What was made elsewhere, or receives as ours does, hinders no network.
#[test]
fn devices_of_others_in_other_namespaces() {
    let scene = Scene::new();
    scene.spoil(&["ip link del flat.4096"]);
    let other = Netns::new("other");
    other.exec("ip link add vx1 type vxlan id 4096 dstport 4789 nolearning");
    other.exec("ip link set vx1 up");
    scene.spoil(&["ip link add vx2 type vxlan id 77 dstport 4789 nolearning"]);
    let beside = moved(&scene, "vx2");
    scene.cut_off_until(&BOTH, "the overlay device flat.4096 is missing", "flatnet sync");
    drop((other, beside));
}

#[test]
fn a_program_at_our_port() {
    let scene = Scene::new();
    scene.spoil(&["ip link del flat.4096"]);
    let program = scene.node().netns.run(|| UdpSocket::bind("0.0.0.0:4789")).expect("bind");
    let sync = scene.flatnet("sync", &[]);
    assert_eq!(sync.status.code(), Some(2), "sync alone does not help: {sync:?}");
    scene.advised(
        "UDP port 4789 is taken by another program",
        "`ss -ulpn sport = :4789` shows which",
    );
    drop(program);
    scene.node().netns.until_udp_is_free(4789);
    mend(&scene, "true");
}

#[test]
fn a_device_of_our_name() {
    let scene = occupied(&["ip link add flat.4096 type bridge"]);
    let remove = "ip link del flat.4096";
    scene.advised("flat.4096 is no VXLAN device", "rename or remove that device");
    mend(&scene, remove);
}
