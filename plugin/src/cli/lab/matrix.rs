//! `flatnet lab matrix`: every pod asks every other one, by every address of it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::name::Name;
use super::namespace;
use super::report::{LabReport, Pair, Pod};
use crate::cli::echo::{Echo, Heard};
use crate::cli::error::CommandError;
use crate::cli::output::{Answer, Outcome};
use crate::cli::progress::Progress;

/// How long the last answers may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks and reports.
pub fn run(name: &Name, json: bool) -> Result<Answer, CommandError> {
    let pods = pods(name)?;
    let pairs = probe_all(name, &pods)?;
    let report = LabReport { pods, pairs };
    let outcome = if report.is_complete() { Outcome::Fine } else { Outcome::Finding };
    if json {
        return Ok(Answer::json(&report.json(), outcome));
    }
    Ok(Answer { text: report.text(), outcome })
}

/// The pods of the lab and the addresses that the plugin gave them.
fn pods(name: &Name) -> Result<Vec<Pod>, CommandError> {
    let folder = Folder::of(name);
    let record = if folder.exists() { folder.load()? } else { None };
    let Some(record) = record.filter(|record| record.complete) else {
        return Err(CommandError::Refused(format!(
            "there is no lab {name}, or it was never finished"
        )));
    };
    let mut pods = Vec::new();
    for node in &record.nodes {
        for pod in &node.pods {
            pods.push(Pod {
                name: pod.netns.clone(),
                label: pod.label.clone(),
                node: node.name.clone(),
                addresses: pod.addresses()?,
            });
        }
    }
    Ok(pods)
}

/// All pairs, in the order of the pods.
fn probe_all(lab: &Name, pods: &[Pod]) -> Result<Vec<Pair>, CommandError> {
    // One pod at a time asks, so that nothing but the network is timed; for late answers, which
    // are mostly none, all wait together.
    let turn = Mutex::new(());
    let turn = &turn;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..pods.len()).map(|from| scope.spawn(move || probe(lab, pods, from, turn))).collect();
        let mut pairs = Vec::new();
        let mut progress = Progress::new("pod", pods.len());
        for thread in threads {
            let row = thread.join();
            pairs.extend(row.map_err(|_| CommandError::Refused("a thread failed".to_owned()))??);
            progress.step();
        }
        Ok(pairs)
    })
}

/// All pairs of which this pod is the first: the addresses of others in its own families.
fn probe(
    lab: &Name,
    pods: &[Pod],
    from: usize,
    turn: &Mutex<()>,
) -> Result<Vec<Pair>, CommandError> {
    let source = &pods[from];
    let netns = namespace::open(lab, &source.name)?;
    let failed = || CommandError::file("send echo requests in", Path::new(&source.name));
    let mut asked = Vec::new();
    // The lock guards nothing that a thread which failed could have spoilt.
    let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
    for v6 in [false, true] {
        let targets = targets(pods, from, v6);
        if !targets.is_empty() {
            let addresses = targets.iter().map(|(_, address)| *address).collect();
            // A socket stays in the namespace in which it was opened.
            let echo = netns.run(|| Echo::open(v6, addresses))?;
            let mut echo = echo.map_err(failed())?;
            echo.ask().map_err(failed())?;
            asked.push((targets, echo));
        }
    }
    drop(held);
    let deadline = Instant::now() + TIMEOUT;
    let mut pairs = Vec::new();
    for (targets, echo) in asked {
        let heard = echo.finish(deadline).map_err(failed())?;
        let made = targets.into_iter().zip(heard);
        pairs.extend(made.map(|((to, address), heard)| Pair {
            from,
            to,
            address,
            trip: heard.and_then(Heard::trip),
        }));
    }
    Ok(pairs)
}

/// Whom a pod asks in one family: every address of every other pod, if it has one itself.
fn targets(pods: &[Pod], from: usize, v6: bool) -> Vec<(usize, IpAddr)> {
    let in_family = |address: &IpAddr| address.is_ipv6() == v6;
    if !pods[from].addresses.iter().any(in_family) {
        return Vec::new();
    }
    let others = pods.iter().enumerate().filter(|(to, _)| *to != from);
    let addresses = others.flat_map(|(to, pod)| pod.addresses.iter().map(move |a| (to, *a)));
    addresses.filter(|(_, address)| in_family(address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_others_in_its_own_families() {
        let pod = |addresses: &[&str]| Pod {
            name: String::new(),
            label: String::new(),
            node: String::new(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let pods = [pod(&["10.0.0.1", "fd00::1"]), pod(&["10.0.0.2"]), pod(&["fd00::3"])];
        let words = |from, v6| -> Vec<String> {
            targets(&pods, from, v6).iter().map(|(to, address)| format!("{to} {address}")).collect()
        };
        assert_eq!(words(0, false), ["1 10.0.0.2"]);
        assert_eq!(words(0, true), ["2 fd00::3"]);
        assert_eq!(words(1, false), ["0 10.0.0.1"]);
        assert_eq!(words(1, true), Vec::<String>::new());
    }
}
