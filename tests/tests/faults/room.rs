//! A state folder that is full or read-only: a clear error, nothing left, and all is well when there
//! is room again.

use std::fs;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;
use flatnet_tests::tmpfs::Tmpfs;

use crate::baseline::{Baseline, Tally};

#[test]
fn no_room_is_a_clear_error_and_passes() {
    let cluster = Cluster::new(1);
    let tmpfs = Tmpfs::mount(&cluster.network.state_dir);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let living = node.add("living");
    let mut tally = Tally::new("full or read-only state folder");
    let filler = tmpfs.filler();
    for case in ["bytes", "inodes", "read-only"] {
        match case {
            "bytes" => tmpfs.fill(),
            "inodes" => tmpfs.crowd(),
            _ => tmpfs.remount("ro"),
        }
        let (before, mut wrong) = (baseline.left(), Vec::new());
        let pod = Pod::new("refused");
        let outcome = node.call_for("ADD", &pod).run();
        if outcome.status().success() {
            wrong.push("ADD found room".to_owned());
        } else if outcome.error().code != 5 || !outcome.error().msg.contains("state") {
            wrong.push(format!("{:?}", outcome.error()));
        }
        if baseline.left() != before {
            wrong.push(format!("left: {:#?}", baseline.left()));
        }
        match case {
            "bytes" => fs::remove_file(&filler).expect("remove"),
            "inodes" => fs::remove_dir_all(&filler).expect("remove"),
            _ => tmpfs.remount("rw"),
        }
        let mut next = Pod::new("next");
        wrong.extend(baseline.attach(&mut next));
        node.del(&next).silent();
        wrong.extend(baseline.lives(&living));
        tally.point(case, true, wrong);
    }
    node.del(&living).silent();
    tally.point("the end", true, baseline.left());
    tally.finish();
}
