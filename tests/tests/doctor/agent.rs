//! What flatnet-agent has written down about the cluster's objects.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::scene::Scene;

pub fn file(scene: &Scene) -> PathBuf {
    scene.cluster.network.state_dir.join("pods/agent.json")
}

pub fn write(scene: &Scene, matters: serde_json::Value) {
    fs::write(file(scene), matters.to_string()).unwrap();
}

#[test]
fn what_the_agent_waits_for_and_leaves_out_is_told() {
    let scene = Scene::new();
    write(&scene, json!({ "node": "a", "trouble": null, "rejected": [], "waits": [] }));
    scene.assert_healthy();

    let waits = json!([{ "kind": "held", "holder": "b", "why": "the node is to have 10.9.0.0/24, which b still holds\u{1b}[31m" }]);
    write(&scene, json!({ "node": "a", "trouble": null, "rejected": [], "waits": waits }));
    scene.advised("which b still holds\\u{1b}[31m", "change the Node");

    let rejected = json!([{ "kind": "block", "name": "10-9-0-0-24", "node": "c", "reason": "taken",
        "problem": "\"10.9.0.0/24\" overlaps 10.9.0.0/16 of b, which is older" }]);
    write(&scene, json!({ "node": "a", "trouble": null, "rejected": &rejected, "waits": [] }));
    scene.advised("the block 10-9-0-0-24: ", "kubectl get flatnetblocks");

    let trouble = json!({ "since": 1_700_000_000, "why": "connection refused" });
    write(&scene, json!({ "node": "a", "trouble": &trouble, "rejected": [], "waits": [] }));
    scene.advised("since 2023-11-14T22:13:20Z: connection refused", "API server");

    // Who goes by an etcd has no kubectl.
    let etcd =
        json!({ "node": "a", "engine": "etcd", "trouble": trouble, "rejected": [], "waits": [] });
    write(&scene, etcd);
    scene.advised("since 2023-11-14T22:13:20Z: connection refused", "whether etcd answers");
    let etcd = json!({ "node": "a", "engine": "etcd", "trouble": null, "rejected": rejected, "waits": [] });
    write(&scene, etcd);
    scene.advised("the block 10-9-0-0-24: ", "flatnet-agent etcd check");

    // What is no such file says nothing.
    fs::write(file(&scene), "{").unwrap();
    scene.assert_healthy();
    fs::remove_file(file(&scene)).unwrap();
    nix::unistd::mkfifo(&file(&scene), nix::sys::stat::Mode::S_IRWXU).unwrap();
    scene.assert_healthy();
}

#[test]
fn a_configuration_before_ours_is_told_where_kubernetes_takes_the_first() {
    let scene = Scene::new();
    let other = scene.net_d().join("05-other.conflist");
    let list = json!({ "cniVersion": "1.0.0", "name": "other", "plugins": [] });
    fs::write(&other, list.to_string()).unwrap();
    scene.assert_healthy();
    write(&scene, json!({ "node": "a", "trouble": null, "rejected": [], "waits": [] }));
    scene.advised("05-other.conflist comes before flatnet's", "take ");
    // Runtimes of machines with an etcd take a network by its name.
    write(
        &scene,
        json!({ "node": "a", "engine": "etcd", "trouble": null, "rejected": [], "waits": [] }),
    );
    scene.assert_healthy();
    write(&scene, json!({ "node": "a", "trouble": null, "rejected": [], "waits": [] }));
    fs::rename(&other, scene.net_d().join("20-other.conflist")).unwrap();
    scene.assert_healthy();
}
