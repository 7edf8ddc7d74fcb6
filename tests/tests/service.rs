//! The systemd unit: systemd understands all of it, and its limits leave a sync what it needs.

use std::collections::BTreeSet;
use std::fs;

use flatnet_tests::cli::conf_dir;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::program::{command, finish, ours, said, workspace};

fn unit() -> String {
    fs::read_to_string(workspace().join("packaging/systemd/flatnet-sync.service")).unwrap()
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flatnet-sync.service");
    let installed = "/opt/cni/bin/flatnet sync";
    assert!(unit().contains(installed));
    let here = unit().replace(installed, &format!("{} sync", ours("flatnet").display()));
    let verify = |text: &str| {
        fs::write(&path, text).unwrap();
        let output = finish(command("systemd-analyze", ["verify", "--man=no"]).arg(&path), b"");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(verify(&here), "");
    assert!(verify(&here.replace("NoNew", "NoOld")).contains("'NoOldPrivileges'"));
}

#[test]
fn the_unit_allows_every_system_call_and_socket_of_a_sync() {
    let cluster = Cluster::new(2);
    let pods = cluster.fill(1);
    let node = &cluster.nodes[0];
    node.netns.exec("ip link del flat.4096");
    node.netns.exec("sysctl -qw net.ipv4.conf.under0.forwarding=0");
    pods[0][0].netns.exec("ip route flush table main");
    let trace = cluster.folder().join("trace");
    let mut strace = command("strace", ["-f", "-qq", "-o"]);
    strace.arg(&trace).arg(ours("flatnet")).arg("sync").arg("--conf-dir").arg(conf_dir(node, &[]));
    let output = node.netns.finish(&mut strace, b"");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("ip link add flat.4096") && words.contains("default via"), "{words}");

    // `PID name(arguments) = result`, but for signals, exits and calls that go on after another's.
    let trace = fs::read_to_string(&trace).unwrap();
    let called: BTreeSet<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| {
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(["setns", "fsmount", "socket"].iter().all(|name| called.contains(name)), "{called:?}");
    let unit = unit();
    let setting = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let families = setting("RestrictAddressFamilies=").split(' ').collect::<Vec<_>>();
    let opened = trace.split(" socket(").skip(1).filter_map(|call| call.split(',').next());
    let refused: Vec<_> = opened.filter(|family| !families.contains(family)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let mut allowed = BTreeSet::new();
    setting("SystemCallFilter=").split(' ').for_each(|word| allow(word, &mut allowed));
    let refused: Vec<_> = called.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Adds a system call, or those of one of systemd's groups.
fn allow(word: &str, allowed: &mut BTreeSet<String>) {
    if !word.starts_with('@') {
        allowed.insert(word.to_owned());
        return;
    }
    let output = finish(&mut command("systemd-analyze", ["syscall-filter", word]), b"");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let members = text.lines().filter_map(|line| line.strip_prefix("    "));
    members.filter(|member| !member.starts_with('#')).for_each(|member| allow(member, allowed));
}
