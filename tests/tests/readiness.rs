//! STATUS and the next ADD agree: where an ADD would fail for a reason of node or network STATUS says no,
//! in that ADD's words, and with 51 where pods that stand are cut off; where it would not STATUS is silent.

use std::any::Any;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{chown, symlink};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::{CniError, Outcome};
use flatnet_tests::cnitool::{cni_path, script};
use flatnet_tests::kernel;
use flatnet_tests::node::Pod;
use flatnet_tests::tmpfs::Tmpfs;
use serde_json::{Value, json};

/// A cause, by its name: what is done to the first node or the network. What it returns lives as long as
/// the cause is to last.
type Cause = (&'static str, fn(&mut Cluster) -> Box<dyn Any>);

/// What an ADD fails for whatever it is asked.
const CAUSES: [Cause; 20] = [
    ("broken range file", |cluster| {
        fs::write(&cluster.network.range_file, "{").expect("write");
        Box::new(())
    }),
    ("no range file", |cluster| {
        fs::remove_file(&cluster.network.range_file).expect("remove");
        Box::new(())
    }),
    ("range file of another version", |cluster| {
        cluster.write_range_file(&json!({ "version": 9, "nodes": [] }));
        Box::new(())
    }),
    ("not listed", |cluster| {
        cluster.list(&[1]);
        Box::new(())
    }),
    ("a node that is not listed", |cluster| {
        cluster.configure("node", json!("node-z"));
        Box::new(())
    }),
    ("no address", |cluster| {
        cluster.nodes[0].netns.exec("ip addr flush dev under0");
        Box::new(())
    }),
    ("VNI taken", |cluster| {
        let vxlan = "type vxlan id 5000 dstport 4789 local 192.168.50.1";
        cluster.nodes[0].netns.exec(&format!("ip link add other {vxlan}"));
        cluster.nodes[0].netns.exec("ip link set other up");
        changed(cluster, "vni", json!(5000));
        Box::new(())
    }),
    ("name taken", |cluster| {
        cluster.nodes[0].netns.exec("ip link add flat.5000 type bridge");
        changed(cluster, "vni", json!(5000));
        Box::new(())
    }),
    ("port taken", |cluster| {
        changed(cluster, "port", json!(4999));
        Box::new(cluster.nodes[0].netns.run(|| UdpSocket::bind("0.0.0.0:4999").expect("bind")))
    }),
    ("MTU impossible", |cluster| {
        cluster.configure("mtu", json!(9000));
        Box::new(())
    }),
    ("read-only state", |cluster| {
        let tmpfs = over_state(cluster);
        tmpfs.remount("ro");
        Box::new(tmpfs)
    }),
    ("full state", |cluster| {
        let tmpfs = over_state(cluster);
        tmpfs.fill();
        Box::new(tmpfs)
    }),
    ("state without inodes", |cluster| {
        let tmpfs = over_state(cluster);
        tmpfs.crowd();
        Box::new(tmpfs)
    }),
    ("state that became full", |cluster| {
        let tmpfs = over_state(cluster);
        cluster.nodes[0].call("STATUS").run().silent();
        tmpfs.fill();
        Box::new(tmpfs)
    }),
    ("state that became read-only", |cluster| {
        let tmpfs = over_state(cluster);
        cluster.nodes[0].call("STATUS").run().silent();
        tmpfs.remount("ro");
        Box::new(tmpfs)
    }),
    ("a file as state", |cluster| {
        aside(cluster);
        fs::write(&cluster.network.state_dir, "").expect("write");
        Box::new(())
    }),
    ("a link as state", |cluster| {
        aside(cluster);
        symlink("/tmp", &cluster.network.state_dir).expect("a link");
        Box::new(())
    }),
    ("another user's state", |cluster| {
        fs::create_dir_all(&cluster.network.state_dir).expect("a folder");
        chown(&cluster.network.state_dir, Some(65534), None).expect("chown");
        Box::new(())
    }),
    ("no delegate", |cluster| {
        cluster.configure("ipam", json!({ "type": "none-such" }));
        Box::new(())
    }),
    ("a delegate that cannot be run", |cluster| {
        let path = script(cluster, "broken", "");
        fs::write(path, "#!/nonexistent\n").expect("write");
        cluster.configure("ipam", json!({ "type": "broken" }));
        Box::new(())
    }),
];

/// Those that let the overlay be brought back, and fail what comes behind it.
const BACK: [&str; 3] = ["full state", "state that became full", "a delegate that cannot be run"];

/// What may look like one and is none.
const NONE: [Cause; 6] = [
    ("nothing", |_| Box::new(())),
    ("no overlay", |cluster| {
        drop(cluster.nodes[0].netns.attempt("ip link del flat.4096"));
        Box::new(())
    }),
    ("no rules", |cluster| {
        drop(cluster.nodes[0].netns.attempt("nft delete table inet flatnet"));
        Box::new(())
    }),
    ("lost state", |cluster| {
        let _ = fs::remove_dir_all(&cluster.network.state_dir);
        Box::new(())
    }),
    ("a log that cannot be written", |cluster| {
        cluster.configure("logFile", json!("/proc/log"));
        Box::new(())
    }),
    ("a changed VNI", |cluster| {
        changed(cluster, "vni", json!(5000));
        Box::new(())
    }),
];

/// Changes one key of the range file.
fn changed(cluster: &Cluster, key: &str, value: Value) {
    let text = fs::read(&cluster.network.range_file).expect("the range file");
    let mut content: Value = serde_json::from_slice(&text).expect("JSON");
    content[key] = value;
    cluster.write_range_file(&content);
}

fn over_state(cluster: &Cluster) -> Tmpfs {
    Tmpfs::mount(&cluster.network.state_dir)
}

fn aside(cluster: &Cluster) {
    let state = &cluster.network.state_dir;
    if state.exists() {
        fs::rename(state, state.with_file_name("aside")).expect("rename");
    }
}

/// What STATUS and ADD say: the error, if it is one.
fn asked(cluster: &Cluster) -> [Option<CniError>; 2] {
    let node = &cluster.nodes[0];
    let path = cni_path(cluster);
    let pod = Pod::new("asked");
    let error = |outcome: Outcome| (!outcome.status().success()).then(|| outcome.error());
    let status = error(node.call("STATUS").env("CNI_PATH", &path).run());
    let add = error(node.call_for("ADD", &pod).env("CNI_PATH", &path).run());
    let again = error(node.call("STATUS").env("CNI_PATH", &path).run());
    assert_eq!(status.is_some(), again.is_some(), "{status:?}, then {again:?}");
    [status, add]
}

/// They fail, and this is STATUS's code.
fn refuse(cluster: &Cluster, code: u64, what: &str) {
    let [status, add] = asked(cluster);
    let (Some(status), Some(add)) = (&status, &add) else {
        panic!("{what}: STATUS {status:?}, ADD {add:?}");
    };
    assert_eq!(status.code, code, "{what}: {status:?}");
    // A full disk refuses whichever file is written first.
    let full = |error: &CniError| error.msg.contains("No space left on device");
    let same = status.msg.ends_with(&add.msg) || full(status) && full(add);
    assert!(same, "{what}: {status:?}, {add:?}");
}

#[test]
fn what_fails_an_add_is_told_before() {
    for (name, cause) in CAUSES {
        let mut empty = Cluster::new(2);
        let kept = cause(&mut empty);
        refuse(&empty, 50, &format!("{name}, an empty node"));
        drop((kept, empty));

        let mut cluster = Cluster::new(2);
        let pod = cluster.nodes[0].add("stands");
        let kept = cause(&mut cluster);
        // Without its address the node sends nothing.
        let code = if name == "no address" { 51 } else { 50 };
        refuse(&cluster, code, &format!("{name}, a pod stands"));
        // The pod loses the overlay, and it cannot come back.
        cluster.nodes[0].netns.exec("ip link set flat.4096 down");
        let code = if BACK.contains(&name) { 50 } else { 51 };
        refuse(&cluster, code, &format!("{name}, the overlay is down"));
        cluster.nodes[0].netns.exec("ip link del flat.4096");
        refuse(&cluster, code, &format!("{name}, the overlay is gone"));
        // The pod goes, and no pod is cut off any more.
        let veth = pod.veth().to_owned();
        drop(pod);
        kernel::wait_until_gone(&cluster.nodes[0].netns, &veth);
        refuse(&cluster, 50, &format!("{name}, the pod is gone"));
        drop(kept);
    }
}

#[test]
fn what_fails_no_add_is_not_told() {
    for (name, cause) in NONE {
        for pods in [0, 1] {
            let mut cluster = Cluster::new(2);
            let _pods: Vec<Pod> = (0..pods).map(|_| cluster.nodes[0].add("stands")).collect();
            let kept = cause(&mut cluster);
            assert_eq!(asked(&cluster), [None, None], "{name}, {pods} pods");
            drop(kept);
        }
    }
}

/// Its pods are another network's, and not cut off.
#[test]
fn the_addresses_of_another_network_are_told() {
    let mut cluster = Cluster::new(2);
    let pod = cluster.nodes[0].add("pod");
    changed(&cluster, "vni", json!(4097));
    cluster.configure("name", json!("other"));
    refuse(&cluster, 50, "while the other stands");
    cluster.nodes[0].netns.exec("ip link del flat.4096");
    assert_eq!(asked(&cluster), [None, None], "when it is gone");
    drop(pod);
}

/// A delegate's own answer is the runtime's to judge. One that has no STATUS has nothing to say against it.
#[test]
fn a_delegates_no_is_passed_on() {
    let mut cluster = Cluster::new(2);
    let no = r#"{"cniVersion":"1.1.0","code":50,"msg":"the pool is closed"}"#;
    script(&cluster, "closed", &format!("[ $CNI_COMMAND = DEL ] || {{ echo '{no}'; exit 1; }}"));
    cluster.configure("ipam", json!({ "type": "closed" }));
    let [status, add] = asked(&cluster).map(|error| error.expect("an error"));
    assert_eq!((status.code, &status.msg[..]), (50, "the pool is closed"));
    assert_eq!(add.msg, status.msg);
}
