//! Packet filters: another program's that drops, and ours that were taken away.

use flatnet_tests::probe;
use serde_json::json;

use super::scene::{BOTH, Scene};

#[test]
fn forward_policy_of_drop() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.spoil(&["iptables-nft -P FORWARD DROP"]);
    scene.cut_off_until(
        &BOTH[..1],
        "chain FORWARD of table ip filter (nftables) has policy drop",
        "iptables-nft -I FORWARD ",
    );
}

/// A policy of accept, and in the end a reject, behind a jump and a goto.
#[test]
fn forward_chain_that_rejects() {
    let scene = Scene::new();
    scene.assert_healthy();
    scene.spoil(&[
        "iptables-nft -N ZONES",
        "iptables-nft -N LAST",
        "iptables-nft -A FORWARD -j ZONES",
        "iptables-nft -A ZONES -g LAST",
        "iptables-nft -A LAST -j REJECT --reject-with icmp-host-prohibited",
    ]);
    scene.cut_off_until(
        &BOTH[..1],
        "chain FORWARD of table ip filter (nftables) drops packets between pods by rule 1 of its chain \
         LAST, `reject` (the way there: ZONES > LAST)",
        "iptables-nft -I FORWARD ",
    );
}

const RULES: &str = "packet filter or settings are not as they should be: ";

/// `nft flush ruleset`, as a firewall's restart does. Pods still reach each other, and so does who
/// should not.
#[test]
fn rules_flushed() {
    let scene = Scene::new();
    let rules = || scene.node().netns.exec("nft list ruleset");
    let before = rules();
    assert!(before.contains("chain prerouting-4096"), "{before}");
    scene.spoil(&["nft flush ruleset"]);
    scene.mended_by_command(RULES, "flatnet sync");
    assert_eq!(rules(), before);
}

#[test]
fn one_chain_flushed() {
    let mut scene = Scene::new();
    scene.set("ipMasq", json!(true));
    scene.run(&format!("flatnet sync --conf-dir {}", scene.net_d().display()));
    let (outside, address) = scene.cluster.outsider(200);
    scene.assert_healthy();
    let pod = &scene.pods[0].netns;
    probe::ping(pod, address);
    scene.spoil(&["nft flush chain inet flatnet postrouting-4096"]);
    assert!(!probe::reaches(pod, address), "no router there knows the way to a pod");
    scene.mended_by_command(RULES, "flatnet sync");
    probe::ping(pod, address);
    drop(outside);
}
