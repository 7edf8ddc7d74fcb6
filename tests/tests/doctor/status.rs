//! STATUS says no where the next ADD would fail, in the words of that ADD, and yes when it would not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;
use flatnet_tests::snapshot;
use flatnet_tests::wait::wait_for;

/// A name, and what is put in its place.
type Fault = (&'static str, fn(&Path));

#[test]
fn a_state_folder_that_takes_no_lease_is_told() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    cluster.settle();
    node.call("STATUS").run().silent();
    let state = node.state();
    let faults: [Fault; 3] = [
        ("leases", |path| fs::write(path, "").unwrap()),
        ("addresses", |path| fs::write(path, "").unwrap()),
        ("lock", |path| fs::create_dir(path).unwrap()),
    ];
    for (name, spoil) in faults {
        let path = state.join(name);
        let aside = state.join("aside");
        let there = path.exists();
        if there {
            fs::rename(&path, &aside).unwrap();
        }
        spoil(&path);
        let before = snapshot::folder(&state);
        // Nothing is waited for, though a busy machine may keep this process waiting.
        let status = wait_for("an answer at once", || {
            let begun = Instant::now();
            let status = node.call("STATUS").run().error();
            (begun.elapsed() < Duration::from_millis(100)).then_some(status)
        });
        assert_eq!(status.code, 50, "{name}: {status:?}");
        assert!(status.msg.contains(&path.display().to_string()), "{status:?}");
        assert_eq!(snapshot::folder(&state), before, "nothing is left behind");
        let pod = Pod::new("refused");
        assert_eq!(node.call_for("ADD", &pod).run().error().code, 5, "{name}");
        match path.is_dir() {
            true => fs::remove_dir(&path).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        if there {
            fs::rename(&aside, &path).unwrap();
        }
        node.call("STATUS").run().silent();
    }
    let before = snapshot::folder(&state);
    node.call("STATUS").run().silent();
    assert_eq!(snapshot::folder(&state), before);
    let pod = node.add("pod");
    node.del(&pod).silent();
}
