//! The programs that others measure with: iperf3 for streams, sockperf for small messages.
//!
//! Both are called as anyone would call them, and bound to no CPU.

use std::path::Path as FilePath;
use std::process::{Command, Output};

use flatnet_tests::netns::inside;
use flatnet_tests::program::{Running, command, finish, said};
use flatnet_tests::wait::wait_for;
use serde_json::Value;

use crate::datapath::cpu;
use crate::datapath::path::{Path, Server};
use crate::datapath::{Place, case};
use crate::measure::{Findings, Key};
use crate::progress::Progress;

/// Where iperf3 listens.
const STREAM: u16 = 5201;
/// Where sockperf listens: for TCP, and one above for UDP.
const MESSAGES: u16 = 11111;
/// The payload of a small message, in bytes.
const SMALL: &str = "64";
/// Numbers of streams.
const STREAMS: [usize; 2] = [1, 8];

/// Takes a test, the number of its flows, its unit and a sample of it.
type Push<'a> = dyn FnMut(&str, usize, &'static str, f64) + 'a;

/// Measures each path so many times, for so many seconds each.
pub fn measure(
    paths: &[Path],
    seconds: u64,
    rounds: usize,
    progress: &Progress,
    findings: &mut Findings,
) {
    let _servers: Vec<[Running; 3]> = paths.iter().map(|path| serve(&path.far)).collect();
    let seconds = seconds.to_string();
    for round in 0..rounds {
        for (step, test) in TESTS.iter().enumerate() {
            progress.step(round * TESTS.len() + step, rounds * TESTS.len());
            for index in crate::attach::in_turn(round, paths.len()) {
                let path = &paths[index];
                test(path, &seconds, &mut |test, flows, unit, sample| {
                    let case = case(Place::Far, path.setting, flows);
                    findings.push(&Key::new(path.name, test, case), unit, sample);
                });
            }
        }
    }
}

const TESTS: [fn(&Path, &str, &mut Push<'_>); 4] = [streams, tcp_latency, udp_latency, packets];

/// Starts the servers, and waits until they listen.
fn serve(server: &Server) -> [Running; 3] {
    let address = server.address.to_string();
    let [tcp, udp] = [MESSAGES, MESSAGES + 1].map(|port| port.to_string());
    let servers = [
        command("iperf3", ["--server"]),
        command("sockperf", ["server", "--tcp", "-i", &address, "-p", &tcp]),
        command("sockperf", ["server", "-i", &address, "-p", &udp]),
    ];
    let running =
        servers.map(|mut command| inside(&server.netns, || Running::start(&mut command, b"")));
    let mut listening =
        command("ss", ["--no-header", "--numeric", "--listening", "--tcp", "--udp"]);
    wait_for("a server's port", || {
        let shown = inside(&server.netns, || finish(&mut listening, b""));
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let ports = [STREAM, MESSAGES, MESSAGES + 1];
        ports.iter().all(|port| shown.contains(&format!(":{port} "))).then_some(())
    });
    running
}

fn streams(path: &Path, seconds: &str, push: &mut Push<'_>) {
    let address = path.far.address.to_string();
    for flows in STREAMS {
        let parallel = flows.to_string();
        let args = ["-c", &address, "-t", seconds, "-P", &parallel, "--json"];
        // The server serves one client at a time, and is a moment behind the last.
        let (report, busy) = wait_for("a free server of iperf3", || {
            let busy = cpu::busy();
            let report = call(&path.client, command("iperf3", args));
            (!report.contains("the server is busy")).then(|| (report, cpu::busy() - busy))
        });
        let (gigabits, bytes) = received(&report).unwrap_or_else(|| panic!("iperf3: {report}"));
        push("iperf3: TCP stream", flows, "Gbit/s", gigabits);
        push("iperf3: CPU per gigabyte", flows, "s", busy / (bytes / 1e9));
    }
}

/// What arrived of all streams, as iperf3 reports it: 10⁹ bit per second, and bytes.
fn received(report: &str) -> Option<(f64, f64)> {
    let report: Value = serde_json::from_str(report).ok()?;
    let sum = &report["end"]["sum_received"];
    Some((sum["bits_per_second"].as_f64()? / 1e9, sum["bytes"].as_f64()?))
}

fn tcp_latency(path: &Path, seconds: &str, push: &mut Push<'_>) {
    latency(path, seconds, "TCP", push);
}

fn udp_latency(path: &Path, seconds: &str, push: &mut Push<'_>) {
    latency(path, seconds, "UDP", push);
}

fn latency(path: &Path, seconds: &str, protocol: &str, push: &mut Push<'_>) {
    let report = sockperf(path, "ping-pong", &["--full-rtt"], seconds, protocol == "TCP");
    for (name, percentile) in [("p50", "percentile 50.000"), ("p99", "percentile 99.000")] {
        let time = number(&report, percentile).unwrap_or_else(|| panic!("sockperf: {report}"));
        push(&format!("sockperf: {protocol} round trip, {name}"), 1, "µs", time);
    }
}

/// sockperf counts what it sends; of a thousand messages one is answered. On its way through both nodes a packet is on
/// the CPU of the one who sends it.
fn packets(path: &Path, seconds: &str, push: &mut Push<'_>) {
    let options = ["--mps=max", "--reply-every=1000"];
    let report = sockperf(path, "under-load", &options, seconds, false);
    let rate = sent(&report).unwrap_or_else(|| panic!("sockperf: {report}"));
    push("sockperf: 64-byte UDP packets", 1, "1000/s", rate / 1e3);
}

/// How many messages sockperf sent in a second, without its warm-up.
fn sent(report: &str) -> Option<f64> {
    let (_, valid) = report.split_once("[Valid Duration]")?;
    Some(number(valid, "SentMessages=")? / number(valid, "RunTime=")?)
}

fn sockperf(path: &Path, test: &str, options: &[&str], seconds: &str, tcp: bool) -> String {
    let address = path.far.address.to_string();
    let port = (if tcp { MESSAGES } else { MESSAGES + 1 }).to_string();
    let whom = ["-i", &address, "-p", &port];
    let protocol: &[&str] = if tcp { &["--tcp"] } else { &[] };
    let what = ["-m", SMALL, "-t", seconds];
    let args = [&[test], options, protocol, &whom, &what].concat();
    call(&path.client, command("sockperf", args))
}

/// The first number behind a word of sockperf's report.
fn number(report: &str, word: &str) -> Option<f64> {
    let (_, behind) = report.split_once(word)?;
    let behind = behind.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = behind.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(behind.len());
    behind[..end].parse().ok()
}

/// Runs a client to its end; what it printed.
fn call(client: &FilePath, mut command: Command) -> String {
    let output: Output = inside(client, || finish(&mut command, b""));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reports_of_both_are_read() {
        let report =
            r#"{ "end": { "sum_received": { "bytes": 250000000, "bits_per_second": 2e9 } } }"#;
        assert_eq!(received(report), Some((2.0, 250e6)));
        assert_eq!(received("iperf3: error - unable to connect to server"), None);
        let report = "sockperf: ---> percentile 99.000 =   31.582\n\
                      sockperf: ---> percentile 50.000 =   24.1\n\
                      sockperf: [Valid Duration] RunTime=0.5 sec; SentMessages=40000; ReceivedMessages=40\n";
        assert_eq!(number(report, "percentile 50.000"), Some(24.1));
        assert_eq!(number(report, "percentile 99.000"), Some(31.582));
        assert_eq!(sent(report), Some(80_000.0));
        assert_eq!(sent("sockperf: No messages were received from the server"), None);
    }
}
