//! The fast path is configured and not there, or not whole.

use flatnet_tests::carrier::Carrier;
use flatnet_tests::cluster::{Cluster, Settings};
use flatnet_tests::fast_path::{exchange, fast_during, state};
use flatnet_tests::kernel;
use flatnet_tests::node::Pod;
use flatnet_tests::program::{command, ours, said};
use flatnet_tests::sync;
use serde_json::{Value, json};

use super::scene::Scene;

const LIBERAL: &str = "netfilter/nf_conntrack_tcp_be_liberal";

fn scene() -> Scene {
    let mut cluster = Cluster::with(Settings { nodes: 2, mtu: 1500, v6_underlay: false });
    cluster.configure("fastPath", json!(true));
    let scene = Scene::with(cluster);
    scene.assert_healthy();
    scene
}

/// Whether packets from the first pod to the second take it.
fn assert_fast(scene: &Scene) {
    let [near, far] = &scene.pods[..] else { panic!("two pods") };
    let counted =
        fast_during(scene.node(), || exchange(&near.netns, &far.netns, far.v4(), 200, 100));
    assert!(counted["toUplink"] > 150, "{counted:?}");
}

#[test]
fn filters_that_were_taken_away() {
    let scene = scene();
    assert_fast(&scene);
    let (overlay, veth) = (scene.node().overlay(), scene.pods[0].veth().to_owned());
    scene.spoil(&[&format!("tc qdisc del dev {veth} clsact")]);
    scene.mended_by_command(
        &format!("filters of the fast path are missing on {veth}"),
        "flatnet sync",
    );
    scene.spoil(&[&format!("tc filter del dev {overlay} ingress pref 65535")]);
    scene.mended_by_command(&format!("there is no fast path on {overlay}"), "flatnet sync");
    assert_fast(&scene);
}

#[test]
fn the_rule_that_tells_what_may_be_learned() {
    let scene = scene();
    scene.spoil(&["nft flush chain inet flatnet fast-path-4096"]);
    scene.mended_by_command("the rule by which the fast path learns", "flatnet sync");
    assert_fast(&scene);
}

#[test]
fn a_setting_that_another_program_has_set_back() {
    let scene = scene();
    kernel::set_sysctl(&scene.node().netns, LIBERAL, "0");
    scene.mended_by_command("net.netfilter.nf_conntrack_tcp_be_liberal is 0", "flatnet sync");
    assert_eq!(kernel::sysctl(&scene.node().netns, LIBERAL), "1");
}

/// An obstacle on the overlay's device or in the namespace is named; when it is gone, a sync brings the fast path back.
fn named_and_mended(spoil: &str, words: &str, advice: &str, mend: &str) {
    let scene = scene();
    let at = |text: &str| text.replace("DEV", &scene.node().overlay());
    scene.spoil(&[&at(spoil)]);
    sync::apply(scene.node());
    scene.advised(words, advice);
    let told = state(scene.node());
    assert_eq!((&told["wanted"], &told["stands"]), (&json!(true), &json!(false)), "{told}");
    assert!(words.contains(told["obstacle"].as_str().expect("an obstacle")), "{told}");
    scene.assert_together();
    scene.spoil(&[&at(mend)]);
    scene.mended_by_command("there is no fast path on ", "flatnet sync");
    assert_fast(&scene);
}

#[test]
fn ipsec_policies() {
    let policy = "dir out src 10.9.0.0/16 dst 10.8.0.0/16";
    named_and_mended(
        &format!(
            "ip xfrm policy add {policy} tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel"
        ),
        "there is no fast path on flat.4096: there are IPsec policies, which packets would pass by (ip xfrm policy)",
        "\"fastPath\": false",
        &format!("ip xfrm policy delete {policy}"),
    );
}

#[test]
fn ipsec_policies_that_came_since() {
    let scene = scene();
    let policy = "dir out src 10.9.0.0/16 dst 10.8.0.0/16";
    scene.spoil(&[&format!("ip xfrm policy add {policy} action block")]);
    scene.advised("although there are IPsec policies (ip xfrm policy)", "flatnet sync");
    scene.spoil(&[&format!("ip xfrm policy delete {policy}")]);
    scene.assert_healthy();
}

#[test]
fn another_programs_queueing_discipline_on_the_overlay() {
    named_and_mended(
        "tc qdisc add dev DEV root tbf rate 1gbit burst 1mb latency 50ms",
        "there is no fast path on flat.4096: another program's queueing discipline tbf is on the device",
        "tc qdisc show dev flat.4096",
        "tc qdisc del dev DEV root",
    );
}

#[test]
fn a_pod_whose_bandwidth_is_limited() {
    let scene = scene();
    let mut limited = Pod::new("limited");
    let mut configuration = scene.cluster.network.configuration.clone();
    configuration["runtimeConfig"] = json!({ "bandwidth": { "egressRate": 1_000_000 } });
    let call = scene.node().call_for("ADD", &limited);
    limited.result = call.stdin(configuration.to_string().as_bytes()).run().result();
    scene.advised(
        "pods without the fast path, as another program shapes or filters what they send: ",
        "take its limit",
    );
    assert_fast(&scene);
    scene.node().del(&limited).silent();
    scene.assert_healthy();
    // A limit that comes later, of which flatnet is not told.
    let veth = scene.pods[0].veth();
    scene.spoil(&[&format!("tc qdisc add dev {veth} root tbf rate 1gbit burst 1mb latency 50ms")]);
    let sync = scene.finding(&[&format!("the fast path is on {veth}, where another program ")]);
    scene.run(&sync);
    scene.advised(&format!("(tbf on {veth})"), "take its limit");
    scene.spoil(&[&format!("tc qdisc del dev {veth} root")]);
    scene.mended_by_command(
        &format!("filters of the fast path are missing on {veth}"),
        "flatnet sync",
    );
}

#[test]
fn a_kernel_that_takes_no_programs() {
    let scene = scene();
    let overlay = scene.node().overlay();
    scene.spoil(&[&format!("tc qdisc del dev {overlay} clsact")]);
    for (errno, advice) in
        [("ENOSYS", "CONFIG_BPF_SYSCALL"), ("EPERM", "CAP_BPF"), ("EINVAL", "Linux 5.13 or later")]
    {
        let mut strace = command("strace", ["-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf"]);
        strace.args(["-e", &format!("inject=bpf:error={errno}")]).arg(ours("flatnet"));
        strace
            .args(["doctor", "--json", "--conf-dir"])
            .arg(scene.net_d())
            .arg("--cni-bin-dir")
            .arg(scene.bin());
        let output = scene.node().netns.finish(&mut strace, b"");
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
        let findings = document["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let text = |key: &str| findings[0][key].as_str().unwrap_or_default().to_owned();
        let expected =
            format!("there is no fast path on {overlay}: the kernel does not take the programs: ");
        assert!(text("what").starts_with(&expected), "{findings:#?}");
        assert!(text("advice").contains(advice), "{findings:#?}");
    }
    scene.mended_by_command("there is no fast path on ", "flatnet sync");
    assert_fast(&scene);
}

/// In a VRF, as by WireGuard, which has no Ethernet header.
#[test]
#[ignore = "needs VRF: make test-vm runs it"]
fn no_ethernet_device_toward_the_peers() {
    let settings = Settings { nodes: 2, mtu: 1500, v6_underlay: false };
    let mut cluster = Cluster::on(Carrier::Vrf, settings);
    cluster.configure("fastPath", json!(true));
    let mut scene = Scene::with(cluster);
    scene.advised("the fast path to other nodes ends at flat.4096", "leave it: nothing is wrong");
    assert_eq!(state(scene.node())["uplinks"], json!([]));
    let [near, far] = &scene.pods[..] else { panic!("two pods") };
    let counted =
        fast_during(scene.node(), || exchange(&near.netns, &far.netns, far.v4(), 200, 100));
    assert!(counted["toOverlay"] > 150, "{counted:?}");
    scene.set("fastPath", json!(false));
    sync::apply(scene.node());
    scene.assert_healthy();
}

#[test]
fn what_is_left_of_one_that_was_switched_off() {
    let mut scene = scene();
    scene.set("fastPath", json!(false));
    scene.mended_by_command(
        "the fast path is switched off, and its filters are still on flat.4096",
        "flatnet sync",
    );
    assert_eq!(state(scene.node())["wanted"], false);
    scene.assert_together();
}
