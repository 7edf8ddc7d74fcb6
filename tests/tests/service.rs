//! The systemd unit: systemd understands all of it, its limits leave a sync what it needs, and what it
//! runs waits for the files that are not there yet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use flatnet_tests::cli::{conf_dir, prepared};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::program::{command, finish, ours, said, workspace};
use flatnet_tests::wait::{PATIENCE, again, wait_for};
use flatnet_tests::{kernel, sync};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

fn unit() -> String {
    fs::read_to_string(workspace().join("packaging/systemd/flatnet-sync.service")).unwrap()
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flatnet-sync.service");
    let installed = "/opt/cni/bin/flatnet sync";
    assert!(unit().contains(installed));
    // It stands before what starts pods, and before what calls the node ready.
    let before = unit().lines().filter_map(|line| line.strip_prefix("Before=")).collect::<String>();
    for runtime in ["containerd", "crio", "docker", "podman", "kubelet"] {
        assert!(before.contains(&format!("{runtime}.service")), "{runtime}: {before}");
    }
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
fn systemd_understands_what_starts_the_driver_of_docker() {
    let folder = tempfile::tempdir().unwrap();
    let mut verify = command("systemd-analyze", ["verify", "--man=no"]);
    for name in ["flatnet-docker.service", "flatnet-docker.socket"] {
        let path = workspace().join("packaging/systemd").join(name);
        let text = fs::read_to_string(path).unwrap();
        let here = ours("flatnet-docker").display().to_string();
        let text = text.replace("/opt/cni/bin/flatnet-docker", &here);
        fs::write(folder.path().join(name), text).unwrap();
        verify.arg(folder.path().join(name));
    }
    let output = finish(&mut verify, b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn systemd_understands_the_agents_unit() {
    let unit = workspace().join("packaging/systemd/flatnet-agent.service");
    let text = fs::read_to_string(unit).unwrap();
    let installed = "/usr/bin/flatnet-agent";
    assert!(text.contains(installed));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flatnet-agent.service");
    fs::write(&path, text.replace(installed, &ours("flatnet-agent").display().to_string()))
        .unwrap();
    let output = finish(command("systemd-analyze", ["verify", "--man=no"]).arg(&path), b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
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
    // As the unit runs it, until it has told that it is ready.
    let socket = cluster.folder().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = cluster.folder().join("told");
    strace.arg(&trace).arg(ours("flatnet")).args(["sync", "--watch", "--conf-dir"]);
    strace.arg(conf_dir(node, &[])).env("NOTIFY_SOCKET", &socket);
    strace.stdin(Stdio::null()).stdout(fs::File::create(&told).unwrap()).process_group(0);
    let service = Running(node.netns.run(|| strace.spawn()).unwrap());
    again(|| manager.recv(&mut [0; 16])).unwrap();
    wait_for("the wait", || fs::read_to_string(&trace).unwrap().contains(" poll(").then_some(()));
    drop(service);
    let words = fs::read_to_string(&told).unwrap();
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
    assert!(
        ["setns", "fsmount", "socket", "inotify_add_watch"]
            .iter()
            .all(|name| called.contains(name)),
        "{called:?}"
    );
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

#[test]
fn the_service_waits_for_files_that_are_to_come() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let good = fs::read(&cluster.network.range_file).unwrap();
    fs::remove_file(&cluster.network.range_file).unwrap();
    node.netns.exec("ip addr flush dev under0");
    let socket = cluster.folder().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let folder = cluster.folder().join("etc/cni/net.d");
    let mut watch = prepared("sync", &["--watch", "--conf-dir", &folder.display().to_string()]);
    watch.env("NOTIFY_SOCKET", &socket);
    let complaints = cluster.folder().join("complaints");
    watch.stderr(fs::File::create(&complaints).unwrap());
    watch.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut service = Running(node.netns.run(|| watch.spawn()).unwrap());
    // systemd goes on with what is ordered behind it, though there is nothing at all.
    let mut message = [0; 16];
    let length = again(|| manager.recv(&mut message)).unwrap();
    assert_eq!(&message[..length], b"READY=1");

    // Another program's file that is damaged hides nothing; then comes ours, and at last its range file.
    let list = conf_dir(node, &[]).join("10-pods.conflist");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("05-other.conf"), "{").unwrap();
    fs::copy(list, folder.join("10-pods.conflist")).unwrap();
    fs::write(&cluster.network.range_file, good).unwrap();
    // The machine's address comes last, as from DHCP.
    wait_for("a word about the address", || {
        let said = fs::read_to_string(&complaints).unwrap();
        said.contains("no node's vtep is an address of this machine").then_some(())
    });
    assert_eq!(kernel::link(&node.netns, "flat.4096"), None);
    node.netns.exec("ip addr add 192.168.50.1/24 dev under0");
    wait_for("the overlay", || kernel::link(&node.netns, "flat.4096"));
    wait_for("all of it", || sync::plan(node).is_empty().then_some(()));
    assert_eq!(service.0.try_wait().unwrap(), None, "it runs on");
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut message).is_err(), "it is said once");
}

/// Ends a process, and those that it started in its own group, when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.0.wait());
    }
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
