//! Files in the state folder that are damaged, empty or another program's: repaired, or a clear error;
//! no address twice, and no other pod is kept from coming and going.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::baseline::{Baseline, Tally};
use crate::kill::gc;

/// A kind of damage to the file at a path.
type Damage = (&'static str, fn(&Path));

fn replaced(path: &Path, content: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, content).expect("write");
}

/// Replaces the first of these bytes in place.
fn edited(path: &Path, from: &[u8], to: &[u8]) {
    let content = fs::read(path).unwrap_or_default();
    let at = content.windows(from.len()).position(|window| window == from).unwrap_or(0);
    let (before, after) = content.split_at(at);
    let after = after.get(from.len()..).unwrap_or_default();
    fs::write(path, [before, to, after].concat()).expect("write");
}

const DAMAGES: [Damage; 14] = [
    ("emptied", |path| fs::write(path, "").expect("write")),
    ("cut", |path| {
        let content = fs::read(path).unwrap_or_default();
        fs::write(path, &content[..content.len() / 2]).expect("write");
    }),
    ("zeroed", |path| fs::write(path, [0; 200]).expect("write")),
    ("nested", |path| fs::write(path, "[".repeat(100_000)).expect("write")),
    ("large", |path| fs::write(path, vec![b'x'; 4 << 20]).expect("write")),
    ("100 MB", |path| {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
        file.and_then(|file| file.set_len(100 << 20)).expect("make longer");
    }),
    ("no UTF-8", |path| edited(path, b":", b":\xff\xfe")),
    ("huge numbers", |path| edited(path, b":", b":1e999,\"netns\":99999999999999999999999,\"x\":")),
    ("keys twice", |path| edited(path, b"{", br#"{"addresses":["10.244.1.1"],"netns":1,"#)),
    ("replaced by an empty file", |path| replaced(path, b"")),
    ("replaced by another's words", |path| {
        replaced(path, br#"{"containerID":"x","ifname":"eth0","veth":"lo","netns":1,"addresses":["10.244.1.1"]}"#);
    }),
    ("removed", |path| drop(fs::remove_file(path))),
    ("replaced by a link", |path| {
        drop(fs::remove_file(path));
        symlink("/etc/hostname", path).expect("link");
    }),
    ("replaced by a FIFO", |path| {
        drop(fs::remove_file(path));
        mkfifo(path, Mode::S_IRWXU).expect("mkfifo");
    }),
];

/// The lease file of a pod, or its first address.
fn file(node: &Node, pod: &Pod, folder: &str) -> std::path::PathBuf {
    let folder = node.state().join(folder);
    if folder.ends_with("addresses") {
        return folder.join(pod.v4().to_string());
    }
    let leases = fs::read_dir(&folder).expect("leases").flatten();
    leases
        .map(|entry| entry.path())
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&pod.container_id)))
        .expect("the pod's lease")
}

#[test]
fn one_bad_lease_blocks_no_other_pod() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    // The first address, which some damaged files name, is no pod's below.
    node.begin_with_the_first("pods");
    let baseline = Baseline::of(node);
    let host = fs::read("/etc/hostname").ok();
    let mut tally = Tally::new("damaged lease or address files");
    for folder in ["leases", "addresses"] {
        for (name, damage) in DAMAGES {
            let (healthy, hurt) = (node.add("healthy"), node.add("hurt"));
            let (lease, address) = (file(node, &hurt, "leases"), file(node, &hurt, "addresses"));
            damage(if folder == "leases" { &lease } else { &address });
            let mut wrong = Vec::new();
            let mut new = Pod::new("new");
            wrong.extend(baseline.attach(&mut new));
            if new.result.is_object() && [healthy.v4(), hurt.v4()].contains(&new.v4()) {
                wrong.push(format!("{} was given twice", new.v4()));
            }
            for pod in [&healthy, &new] {
                wrong.extend(baseline.lives(pod));
                node.del(pod).silent();
            }
            // An error is allowed, if it is one; GC does the rest then.
            let del = node.del(&hurt);
            if !del.status().success() {
                wrong.extend(del.error().msg.is_empty().then(|| "an error without words".into()));
            }
            // What cannot be told to be ours GC names and leaves to a person.
            let path = if folder == "leases" { lease.clone() } else { address.clone() };
            let complaints = gc(node);
            if complaints.iter().any(|text| text.contains(&path.display().to_string())) {
                fs::remove_file(&path).expect("remove what was named");
                wrong.extend(gc(node));
            } else {
                wrong.extend(complaints);
            }
            wrong.extend(baseline.left());
            tally.point(&format!("{folder}: {name}"), true, wrong);
        }
    }
    assert_eq!(host, fs::read("/etc/hostname").ok(), "nothing was written through the link");
    tally.finish();
}

#[test]
fn other_bad_files_are_made_anew_or_named() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("damaged lock and stamp files");
    for file in ["lock", "overlay.json", "overlay.lock"] {
        for (name, damage) in DAMAGES {
            let path = node.state().join(file);
            damage(&path);
            let mut wrong = Vec::new();
            let outcome = node.call_for("ADD", &Pod::new("meets")).run();
            if !outcome.status().success() && !outcome.error().msg.contains(file) {
                wrong.push(format!("the error does not name the file: {:?}", outcome.error()));
            }
            // What is in the way is removed by hand; then all is well, at once.
            if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                let _ = fs::remove_file(&path);
            }
            wrong.extend(gc(node));
            let mut pod = Pod::new("after");
            wrong.extend(baseline.attach(&mut pod));
            node.del(&pod).silent();
            wrong.extend(baseline.left_of_pods());
            tally.point(&format!("{file}: {name}"), true, wrong);
        }
    }
    tally.finish();
}
