//! `flatnet lab`: a cluster on one machine that comes up whole or not at all, tells who reaches
//! whom, and goes without a trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;

use flatnet_tests::lab::Lab;
use flatnet_tests::netns::{self, Netns};
use flatnet_tests::program::{command, finish, said};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Ends a child with a signal and returns how it ended.
fn end(mut child: Child, signal: Signal) -> std::process::ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, signal).expect("send a signal");
    child.wait().expect("wait for the child")
}

#[test]
fn every_pair_is_reached_and_nothing_is_left() {
    // On a machine of its own, whose devices are no other program's to change: a lab must not touch them.
    let machine = Netns::new("machine");
    let before = machine.exec("ip -o link");
    let lab = Lab::new("a");
    machine.run(|| lab.succeed(&["up", "--nodes", "3", "--pods", "2"]));
    assert_eq!(lab.namespaces().len(), 1 + 3 + 6);
    assert_eq!(machine.exec("ip -o link"), before);

    let table = machine.run(|| lab.succeed(&["matrix"]));
    // Six pods ask five others, by two addresses each.
    assert!(table.ends_with("60 of 60 pairs reached\n"), "{table}");
    for part in ["IPv4", "IPv6", "1-1", "3-2"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let matrix: Value = serde_json::from_str(&lab.succeed(&["matrix", "--json"])).unwrap();
    assert_eq!((&matrix["reached"], &matrix["total"]), (&60.into(), &60.into()));
    let asked: BTreeSet<(&str, &str)> = matrix["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .inspect(|pair| assert!(pair["rttMs"].as_f64() > Some(0.0), "{pair}"))
        .map(|pair| (pair["from"].as_str().unwrap(), pair["to"].as_str().unwrap()))
        .collect();
    let pods: Vec<&str> = matrix["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["name"].as_str().unwrap())
        .collect();
    let mut expected = BTreeSet::new();
    for from in &pods {
        expected.extend(pods.iter().filter(|to| *to != from).map(|to| (*from, *to)));
    }
    assert_eq!(asked, expected);

    machine.run(|| lab.succeed(&["down"]));
    lab.assert_gone();
    assert_eq!(machine.exec("ip -o link"), before);
}

#[test]
fn a_pair_that_is_not_reached_is_a_finding() {
    let lab = Lab::new("b");
    lab.succeed(&["up", "--nodes", "2", "--pods", "1"]);
    let cut = Path::new("/run/netns").join(format!("{}-pod-2-1", lab.name));
    netns::inside(&cut, || finish(&mut command("ip", ["link", "set", "eth0", "down"]), b""));
    let output = lab.run(&["matrix", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&matrix["reached"], &matrix["total"]), (&0.into(), &4.into()));
    assert!(matrix["pairs"].as_array().unwrap().iter().all(|pair| pair["rttMs"].is_null()));
}

#[test]
fn labs_stand_side_by_side_and_a_name_is_taken_once() {
    let (left, right) = (Lab::new("c"), Lab::new("d"));
    left.succeed(&["up", "--nodes", "2", "--pods", "1"]);
    right.succeed(&["up", "--nodes", "2", "--pods", "1"]);
    let again = left.run(&["up", "--nodes", "1", "--pods", "1"]);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains(&left.name), "{}", said(&again));
    right.succeed(&["down"]);
    right.assert_gone();
    left.succeed(&["matrix"]);
    let none = right.run(&["down"]);
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
}

#[test]
fn a_namespace_of_others_is_not_touched() {
    let lab = Lab::new("e");
    let foreign = format!("{}-node-2", lab.name);
    finish(&mut command("ip", ["netns", "add", &foreign]), b"");
    let refused = lab.run(&["up", "--nodes", "3", "--pods", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains(&foreign), "{}", said(&refused));
    assert_eq!(lab.namespaces(), [foreign.clone()].into());
    finish(&mut command("ip", ["netns", "del", &foreign]), b"");
    lab.assert_gone();
}

#[test]
fn an_up_that_fails_half_way_removes_what_it_made() {
    let lab = Lab::new("f");
    let mut up = lab.start_up();
    // Takes the name of its last pod while it builds the nodes.
    let foreign = format!("{}-pod-12-8", lab.name);
    let made = finish(&mut command("ip", ["netns", "add", &foreign]), b"");
    assert!(made.status.success(), "{}", said(&made));
    let status = up.wait().unwrap();
    assert_eq!(status.code(), Some(2));
    assert_eq!(lab.namespaces(), [foreign.clone()].into());
    assert!(!lab.folder().exists());
    finish(&mut command("ip", ["netns", "del", &foreign]), b"");
    lab.assert_gone();
}

#[test]
fn an_up_that_is_interrupted_removes_what_it_made() {
    let lab = Lab::new("g");
    let status = end(lab.start_up(), Signal::SIGINT);
    assert!(!status.success(), "{status}");
    lab.assert_gone();
}

#[test]
fn down_removes_what_a_killed_up_left() {
    let lab = Lab::new("h");
    end(lab.start_up(), Signal::SIGKILL);
    assert!(!lab.namespaces().is_empty());
    lab.succeed(&["down"]);
    lab.assert_gone();
}

#[test]
fn what_cannot_be_built_is_refused() {
    let lab = Lab::new("i");
    for args in [["up", "--nodes", "0"], ["up", "--nodes", "x"], ["up", "--pods", "100000"]] {
        let output = lab.run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        lab.assert_gone();
    }
}
