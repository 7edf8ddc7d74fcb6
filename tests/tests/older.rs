//! The state of another release of flatnet, or damaged: it fails no ADD, CHECK, DEL, GC or STATUS.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{cli, probe};
use serde_json::{Value, json};

/// Every call that a runtime makes of a node where `stands` is attached, which it is in the end, too.
fn all_calls(node: &Node, stands: &Pod, what: &str) {
    let check = |pod: &Pod| {
        let mut conf = node.network.configuration.clone();
        conf["prevResult"] = pod.result.clone();
        let checked = node.call_for("CHECK", pod).stdin(conf.to_string().as_bytes()).run();
        assert!(checked.status().success(), "{what}: {:?}", checked.error());
    };
    check(stands);
    node.call("STATUS").run().silent();
    let new = node.add("new");
    assert_ne!(new.addresses(), stands.addresses(), "{what}");
    check(&new);
    node.call("GC").run().silent();
    check(stands);
    node.del(&new).silent();
    assert_eq!(node.leases().len(), 1, "{what}");
    probe::ping(&node.netns, stands.v4());
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// The one file of the one lease.
fn lease(node: &Node) -> PathBuf {
    let mut entries = fs::read_dir(node.state().join("leases")).expect("leases");
    entries.next().expect("a lease").expect("it").path()
}

#[test]
fn a_damaged_cursor_gives_no_address_twice() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("stands");
    let endless = vec![b'7'; 1 << 20];
    let damaged: [&[u8]; 8] = [
        b"",
        b"garbage",
        b"-1",
        b"99999999999999999999999999",
        b"{\"4\":\"10.244.1.999\"}",
        b"{\"4\":\"10.9.9.9\",\"6\":\"fd99::1\"}",
        b"\xff\xfe\0",
        &endless,
    ];
    for damage in damaged {
        fs::write(node.state().join("lock"), damage).expect("write");
        all_calls(node, &pod, &format!("{:?}", &damage[..damage.len().min(30)]));
    }
    node.del(&pod).silent();
    node.assert_no_attachment();
}

#[test]
fn a_stamp_that_lacks_what_this_release_knows() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("stands");
    cluster.settle();
    node.call("STATUS").run().silent();
    let path = node.state().join("overlay.json");
    let whole = read(&path);
    let keys: Vec<String> = whole.as_object().expect("an object").keys().cloned().collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        let mut older = whole.clone();
        older.as_object_mut().expect("an object").remove(&key);
        fs::write(&path, older.to_string()).expect("write");
        all_calls(node, &pod, &format!("without {key}"));
    }
    for (key, value) in [("format", json!(1)), ("format", json!(1 << 20)), ("future", json!([{}]))]
    {
        let mut other = whole.clone();
        other[key] = value.clone();
        fs::write(&path, other.to_string()).expect("write");
        all_calls(node, &pod, &format!("{key} {value}"));
    }
    for damage in [&b""[..], b"{", b"\xff\xfe", b"null", b"[]"] {
        fs::write(&path, damage).expect("write");
        all_calls(node, &pod, &format!("{damage:?}"));
    }
    node.del(&pod).silent();
}

#[test]
fn a_lease_that_lacks_what_is_newer_or_has_what_is_newer_still() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = Pod::new("stands");
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";
    let result = node.call_for("ADD", &pod).env("CNI_ARGS", args).run().result();
    let pod = Pod { result, ..pod };
    let path = lease(node);
    let whole = read(&path);
    // In place, for the addresses are names of the same file.
    let write = |lease: &Value| fs::write(&path, lease.to_string()).expect("write");
    for key in ["pod", "sandbox"] {
        let mut older = whole.clone();
        older.as_object_mut().expect("an object").remove(key).expect("the key is there");
        write(&older);
        all_calls(node, &pod, &format!("without {key}"));
    }
    let mut newer = whole.clone();
    newer["future"] = json!({ "of": ["what", 1] });
    newer["pod"]["future"] = json!(true);
    write(&newer);
    all_calls(node, &pod, "with unknown keys");
    let mut oldest = whole.clone();
    for key in ["pod", "sandbox"] {
        oldest.as_object_mut().expect("an object").remove(key);
    }
    write(&oldest);
    node.del(&pod).silent();
    node.assert_no_attachment();
}

#[test]
fn unknown_files_hinder_no_call() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let pod = node.add("stands");
    let state = &cluster.network.state_dir;
    let folders = [
        state.clone(),
        state.join("pods"),
        node.state(),
        node.state().join("leases"),
        node.state().join("addresses"),
    ];
    let mut made = Vec::new();
    for folder in &folders {
        for name in ["README", ".hidden", "index.db", "10.244.1.77~"] {
            fs::write(folder.join(name), "unknown").expect("write");
            made.push(folder.join(name));
        }
        fs::create_dir(folder.join("future")).expect("a folder");
        fs::write(folder.join("future/file"), "").expect("write");
        symlink("/nonexistent", folder.join("link")).expect("a link");
    }
    // A GC clears nothing that it does not know either.
    let count = |pod: &Pod| {
        let mut conf = node.network.configuration.clone();
        conf["prevResult"] = pod.result.clone();
        node.call_for("CHECK", pod).stdin(conf.to_string().as_bytes()).run().silent();
        node.call("GC").run().silent();
    };
    count(&pod);
    node.call("STATUS").run().silent();
    let new = node.add("new");
    count(&new);
    node.del(&new).silent();
    cli::text(&cli::flatnet(node, "list", &[]), 0);
    cli::text(&cli::flatnet(node, "sync", &[]), 0);
    node.del(&pod).silent();
    for file in made {
        assert_eq!(fs::read_to_string(&file).expect("the file"), "unknown");
    }
}
