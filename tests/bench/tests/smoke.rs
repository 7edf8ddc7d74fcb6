//! A short run of the whole benchmark: that it runs, writes what it should, and leaves nothing. Its
//! figures mean nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const FAST: &str = "flatnet, fast path";
const UPLINK: &str = "flatnet, from the uplink";

fn json(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The (test, contender) pairs of a part, each with samples that could have been measured.
fn series(part: &Value) -> BTreeSet<(String, String)> {
    let text = |series: &Value, key: &str| series[key].as_str().expect(key).to_owned();
    let all = part["series"].as_array().expect("series");
    for series in all {
        let samples = series["samples"].as_array().expect("samples");
        assert!(!samples.is_empty(), "{series}");
        assert!(
            samples.iter().all(|sample| sample.as_f64().is_some_and(f64::is_finite)),
            "{series}"
        );
        assert!(series["median"].as_f64() <= series["p99"].as_f64(), "{series}");
    }
    all.iter().map(|series| (text(series, "test"), text(series, "contender"))).collect()
}

fn product(tests: &[&str], contenders: &[&str]) -> BTreeSet<(String, String)> {
    let pair = |test: &&str| {
        contenders.iter().map(move |name| (test.to_string(), name.to_string())).collect::<Vec<_>>()
    };
    tests.iter().flat_map(pair).collect()
}

#[test]
fn a_short_run_writes_everything() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("performance.md");
    let workspace = flatnet_tests::program::workspace();
    fs::copy(workspace.join("docs/performance.md"), &document).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_flatnet-bench"))
        .args(["--short", "--output"])
        .arg(folder.path())
        .arg("--document")
        .arg(&document)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let own = format!("ftest-{}-", child.id());
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);

    let attach = json(&folder.path().join("attach.json"));
    let costs = [
        "ADD",
        "DEL",
        "executables",
        "user-space instructions",
        "system calls",
        "peak memory",
        "CPU time",
    ];
    assert_eq!(series(&attach), product(&costs, &["flatnet", FAST, "ptp", "bridge", "flannel"]));

    let scale = json(&folder.path().join("scale.json"));
    let mut expected = product(&["from nothing", "unchanged", "peak memory"], &["flatnet"]);
    expected.extend(product(&["one changed", "ADD"], &["flatnet"]));
    let batch = "ip + bridge -batch";
    expected.extend(product(&["from nothing", "unchanged", "peak memory"], &[batch]));
    let plain = format!("{batch}, no metrics");
    expected.extend(product(&["from nothing", "unchanged"], &[&plain]));
    let upkeep = [
        "sync with pods",
        "CPU of the watch for an ADD",
        "CPU of the watch for a DEL",
        "CPU of the watch for one changed peer",
    ];
    expected.extend(product(&upkeep, &["flatnet", "allowed"]));
    let alone = ["CPU of the watch for a file that says the same", "ADD on a node"];
    expected.extend(product(&alone, &["flatnet"]));
    expected.extend(product(&["ip: a veth on a node"], &["ip"]));
    expected.extend(product(&["more on a node"], &["flatnet", "ip"]));
    assert_eq!(series(&scale), expected);

    let datapath = json(&folder.path().join("datapath.json"));
    let traffic = [
        "TCP stream",
        "CPU per gigabyte",
        "TCP round trip, p50",
        "TCP round trip, p99",
        "UDP round trip, p50",
        "UDP round trip, p99",
        "64-byte UDP packets",
        "TCP connections",
    ];
    let paths =
        ["host to host", "host with conntrack", "flannel's objects", "flatnet", FAST, UPLINK];
    assert_eq!(series(&datapath), product(&traffic, &paths));

    let fastpath = json(&folder.path().join("fastpath.json"));
    let tools = [
        "iperf3: TCP stream",
        "iperf3: CPU per gigabyte",
        "sockperf: TCP round trip, p50",
        "sockperf: TCP round trip, p99",
        "sockperf: UDP round trip, p50",
        "sockperf: UDP round trip, p99",
        "sockperf: 64-byte UDP packets",
    ];
    let mut expected = product(&tools, &paths[1..]);
    expected.extend(product(&traffic, &["flatnet", FAST, UPLINK]));
    assert_eq!(series(&fastpath), expected);

    let text = fs::read_to_string(&document).unwrap();
    for (part, bars) in [(&attach, 5), (&scale, 10), (&datapath, 14)] {
        let verdicts = part["bars"].as_array().unwrap();
        assert_eq!(verdicts.len(), bars, "{verdicts:?}");
        for verdict in verdicts {
            assert!(verdict["ratio"].is_number(), "{verdict}");
            assert!(text.contains(verdict["bar"]["text"].as_str().unwrap()), "{verdict}\n{text}");
        }
        for plot in part["plots"].as_array().unwrap() {
            let file = plot[0].as_str().unwrap();
            assert!(text.contains(&format!("(performance/{file})")), "{file}\n{text}");
            let svg = fs::read_to_string(folder.path().join("performance").join(file)).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("flatnet"), "{file}: {svg}");
        }
    }
    assert!(stdout.contains("ADD against ptp + host-local"), "{stdout}");

    let left = fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(&own)).collect();
    assert!(left.is_empty(), "{left:?}");
}
