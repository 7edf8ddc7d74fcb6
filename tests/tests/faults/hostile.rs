//! Input of any shape and size: an error object or a result, never a panic, a hang, or a file outside
//! the state folder. `bad_input.rs` has the ordinary mistakes.

use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Outcome;
use flatnet_tests::node::Pod;
use flatnet_tests::snapshot;

use crate::baseline::{Baseline, Tally};

/// Nothing here may take longer, the largest input included.
const AT_MOST: Duration = Duration::from_secs(20);

/// What is wrong with an outcome: anything but success, or an error object with a code and words.
fn judge(outcome: &Outcome) -> Vec<String> {
    let stderr = outcome.stderr();
    if outcome.status().code().is_none() || stderr.contains("panicked") {
        return vec![format!("{}: {stderr}", outcome.status())];
    }
    // Panics, and so fails the test, unless it is one error object.
    if !outcome.status().success() && outcome.error().msg.is_empty() {
        return vec!["an error without words".to_owned()];
    }
    Vec::new()
}

/// Values for one variable of the environment.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "..",
        ".",
        "/",
        "a/../../b",
        "../../../../tmp/escaped",
        "-rf",
        "--help",
        "%s%n",
        "$(id)",
        "a\nb",
        "\u{1b}[2J",
        "\u{202e}gnp",
        "é",
        "0",
        "a=b;c=d",
        "IP=;MAC=",
        "IP=::",
        "=;=;=",
        "IgnoreUnknown=1;IP=999",
        "K8S_POD_NAME=../../x;IgnoreUnknown=1",
        "veth0",
        "lo",
        "all",
        "default",
    ]
    .map(str::to_owned)
    .into();
    values.extend([255, 256, 4096, 10_000, 100_000].map(|length| "a".repeat(length)));
    values
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

/// Configurations that are broken in shape or size, by what is wrong with them.
fn configurations(good: &str) -> Vec<(String, Vec<u8>)> {
    let open = good.strip_suffix('}').expect("an object");
    let with = |what: &str| format!("{open},{what}}}").into_bytes();
    let deep =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let mut all = Vec::new();
    for n in [100, 127, 128, 1000, 200_000] {
        all.push((format!("{n} lists"), with(&format!(r#""x":{}"#, deep("[", "]", n)))));
        all.push((format!("{n} objects"), with(&format!(r#""x":{}"#, deep(r#"{"a":"#, "}", n)))));
    }
    for number in
        ["1e999", "-1e999", "99999999999999999999999999", "-1", "1.5", "0x10", "NaN", "01"]
    {
        for key in ["mtu", "cniVersion", "x", "name", "ipMasq"] {
            all.push((format!("{key}: {number}"), with(&format!(r#""{key}":{number}"#))));
        }
    }
    for key in ["name", "cniVersion", "rangeFile", "stateDir", "x"] {
        all.push((format!("{key} twice"), with(&format!(r#""{key}":"other","{key}":"another""#))));
    }
    for name in ["..", ".", "a/b", "../../tmp/escaped", "", "\\u0000", "\\ud800", "a\\nb"] {
        all.push((format!("name {name}"), with(&format!(r#""name":"{name}""#))));
        let only = format!(r#"{{"cniVersion":"1.1.0","type":"flatnet","name":"{name}"}}"#);
        all.push((format!("only the name {name}"), only.into_bytes()));
    }
    for byte in [0x00, 0x80, 0xc0, 0xff] {
        let mut bytes = good.as_bytes().to_vec();
        bytes.insert(good.len() / 2, byte);
        all.push((format!("byte {byte:#x}"), bytes));
    }
    let results = [
        "null",
        "[]",
        r#"{"ips":[{"interface":-1,"address":"10.0.0.1/99"}]}"#,
        r#"{"interfaces":{}}"#,
    ];
    all.extend(results.map(|r| (format!("prevResult {r}"), with(&format!(r#""prevResult":{r}"#)))));
    all.push(("a long name".into(), with(&format!(r#""x":"{}""#, "n".repeat(10_000_000)))));
    all.push((
        "many keys".into(),
        with(&(0..200_000).map(|n| format!(r#""k{n}":{n}"#)).collect::<Vec<_>>().join(",")),
    ));
    all.push(("100 MB of blanks".into(), vec![b' '; 100 << 20]));
    all.push(("100 MB of brackets".into(), vec![b'['; 100 << 20]));
    all
}

#[test]
fn the_configuration() {
    let cluster = Cluster::new(1);
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
        let started = Instant::now();
        let mut wrong = Vec::new();
        for verb in ["ADD", "CHECK", "GC", "DEL"] {
            wrong.extend(judge(&node.call_for(verb, &pod).stdin(&input).run()));
        }
        if started.elapsed() > AT_MOST {
            wrong.push(format!("took {:?}", started.elapsed()));
        }
        node.del(&pod).silent();
        wrong.extend(baseline.left());
        if names() != before {
            wrong.push(format!("files: {:?}", names()));
        }
        tally.point(&what, true, wrong);
    }
    assert!(!std::path::Path::new("/tmp/escaped").exists(), "a file outside the state folder");
    tally.finish();
}
