//! A range full of pods that vanished without a DEL serves new ones at once; pods that live keep
//! their leases, whatever GC is told.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::node::Pod;
use serde_json::json;

use crate::baseline::{Baseline, Tally};
use crate::kill::gc;

#[test]
fn vanished_pods_make_room_and_living_ones_stay() {
    let mut cluster = Cluster::new(1);
    cluster.nodes[0].ranges = vec![
        json!({ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.17" }),
        json!({ "subnet": "fd00:10:244:1::/64" }),
    ];
    cluster.list(&[0]);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("pods that vanished or stayed in a full range");
    for round in 0..3 {
        let living: Vec<Pod> = (0..3).map(|_| node.add("living")).collect();
        let vanished: Vec<Pod> = (0..5).map(|_| node.add("vanished")).collect();
        let full = node.call_for("ADD", &Pod::new("ninth")).run().error();
        assert_eq!(full.code, 100, "{full:?}");
        for pod in vanished {
            let veth = pod.veth().to_owned();
            drop(pod);
            kernel::wait_until_gone(&node.netns, &veth);
        }
        // Leases of the vanished are there still: nothing but the ADD takes them back.
        assert_eq!(node.leases().len(), 8);
        let new: Vec<Pod> = (0..5).map(|_| node.add("new")).collect();
        assert_eq!(gc(node), Vec::<String>::new());
        let full = node.call_for("ADD", &Pod::new("ninth")).run().error();
        assert_eq!(full.code, 100, "{full:?}");
        for pod in living.iter().chain(&new) {
            tally.point(&format!("round {round}, {}", pod.v4()), true, baseline.lives(pod));
        }
        for pod in living.iter().chain(&new) {
            node.del(pod).silent();
        }
        tally.point(&format!("round {round}, the end"), true, baseline.left());
    }
    tally.finish();
}
