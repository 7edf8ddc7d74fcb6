//! Input of any shape and size: an error object or a result, never a panic, a hang, or a file outside
//! the state folder. `bad_input.rs` has the ordinary mistakes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Outcome;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::ours;
use flatnet_tests::snapshot;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::baseline::{Baseline, Tally};
use crate::documents::{configurations, range_files, values};

/// No call may take longer, the largest input included.
const AT_MOST: Duration = Duration::from_secs(10);

/// No message is longer: what it quotes is cut.
const LONGEST: usize = 64 * 1024;

/// Every verb, in an order in which the last one cleans up.
const VERBS: [&str; 6] = ["VERSION", "STATUS", "ADD", "CHECK", "GC", "DEL"];

/// What is wrong with an outcome: anything but success, or an error object with a code and words on
/// one line that no terminal obeys.
fn judge(outcome: &Outcome) -> Vec<String> {
    let stderr = outcome.stderr();
    if outcome.status().code().is_none() || stderr.contains("panicked") {
        return vec![format!("{}: {stderr}", outcome.status())];
    }
    if outcome.status().success() {
        return Vec::new();
    }
    // Panics, and so fails the test, unless it is one error object.
    let msg = outcome.error().msg;
    if msg.is_empty() || msg.len() > LONGEST || msg.contains(char::is_control) {
        return vec![format!("an error of {} bytes: {msg:.1000?}", msg.len())];
    }
    Vec::new()
}

/// Every verb of both executables with this on standard input, and what is wrong with that.
fn call_all(node: &Node, pod: &Pod, input: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    for program in ["flatnet", "flatnet-ipam"] {
        for verb in VERBS {
            let call = node.call_for(verb, pod).program(ours(program)).stdin(input);
            let started = Instant::now();
            let mut what = judge(&call.run());
            if started.elapsed() > AT_MOST {
                what.push(format!("took {:?}", started.elapsed()));
            }
            wrong.extend(what.iter().map(|what| format!("{program} {verb}: {what}")));
        }
    }
    wrong
}

#[test]
fn the_environment() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("hostile environments");
    let keys = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_ARGS", "CNI_NETNS", "CNI_PATH"];
    for (key, value) in keys.iter().flat_map(|key| values().into_iter().map(move |v| (key, v))) {
        let pod = Pod::new("hostile");
        let call = |verb| node.call_for(verb, &pod).env(key, &value).run();
        let mut wrong = judge(&call("ADD"));
        wrong.extend(judge(&call("DEL")));
        // A pod that came under a path or ID that DEL then refuses goes by its good name.
        node.del(&pod).silent();
        wrong.extend(baseline.left());
        let shown: String = value.chars().take(40).collect();
        tally.point(&format!("{key}={shown:?} ({} bytes)", value.len()), true, wrong);
    }
    tally.finish();
}

#[test]
fn the_configuration() {
    let mut cluster = Cluster::new(1);
    // For flatnet-ipam; flatnet itself takes it for what is built in.
    let (range_file, state_dir) = (&cluster.network.range_file, &cluster.network.state_dir);
    let ipam = json!({ "type": "flatnet-ipam", "rangeFile": range_file, "stateDir": state_dir });
    cluster.configure("ipam", ipam);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("hostile configurations");
    // A name given twice counts as its last, and has a folder of its own within the state folder.
    let names = || {
        let mut files = snapshot::folder(cluster.folder());
        files.retain(|path, _| !path.starts_with(&cluster.network.state_dir));
        files.into_keys().collect::<Vec<_>>()
    };
    let before = names();
    for (what, input) in configurations(&cluster.network.configuration.to_string()) {
        let pod = Pod::new("hostile");
        let mut wrong = call_all(node, &pod, &input);
        node.del(&pod).silent();
        wrong.extend(baseline.left());
        if names() != before {
            wrong.push(format!("files: {:?}", names()));
        }
        tally.point(&what, true, wrong);
    }
    assert!(!Path::new("/tmp/escaped").exists(), "a file outside the state folder");
    tally.finish();
}

#[test]
fn the_range_file() {
    let cluster = Cluster::new(1);
    cluster.settle();
    let (node, path) = (&cluster.nodes[0], &cluster.network.range_file);
    let good = fs::read(path).expect("the range file");
    let baseline = Baseline::of(node);
    let mut tally = Tally::new("hostile range files");
    let mut point = |what: &str, put: &dyn Fn()| {
        let _ = fs::remove_file(path);
        put();
        let pod = Pod::new("hostile");
        let input = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "flatnet",
            "rangeFile": path, "stateDir": cluster.network.state_dir,
            "ipam": { "rangeFile": path, "stateDir": cluster.network.state_dir } });
        let mut wrong = call_all(node, &pod, input.to_string().as_bytes());
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        fs::write(path, &good).expect("write");
        node.del(&pod).silent();
        // What was applied of it is put right by the next ADD.
        let mut next = Pod::new("next");
        wrong.extend(baseline.attach(&mut next));
        node.del(&next).silent();
        wrong.extend(baseline.left());
        tally.point(what, true, wrong);
    };
    for (what, content) in range_files(std::str::from_utf8(&good).expect("text")) {
        point(&what, &|| fs::write(path, &content).expect("write"));
    }
    point("a FIFO", &|| mkfifo(path, Mode::S_IRWXU).expect("mkfifo"));
    point("a folder", &|| fs::create_dir(path).expect("a folder"));
    point("endless", &|| symlink("/dev/zero", path).expect("a link"));
    point("itself", &|| symlink(path, path).expect("a link"));
    tally.finish();
}
