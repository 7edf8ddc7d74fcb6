//! `flatnet sync --watch` looks at what an event names: whatever is changed is put right by its own
//! event, long before the look at everything, and what a pod costs does not grow with the node.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flatnet_tests::cli::conf_dir;
use flatnet_tests::cluster::{Cluster, UNDERLAY};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{command, ours, said};
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{kernel, probe, sync};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

#[path = "upkeep/traced.rs"]
mod traced;

use traced::{Traced, messages, traced, waits};

/// The watch looks at everything once a minute; what is right before is owed to an event.
fn is_put_right(node: &Node, what: &str) {
    wait_for(what, || sync::plan(node).is_empty().then_some(()));
}

#[test]
fn each_change_is_put_right_by_its_own_event() {
    let cluster = Cluster::new(2);
    let (node, peer) = (&cluster.nodes[0], cluster.nodes[1].add("peer"));
    let watcher = Watcher::start(node);
    watcher.says(" changes made\n");
    let pod = node.add("pod");
    kernel::wait_until_up(&node.netns, pod.veth());
    is_put_right(node, "the ADD");

    let fdb = kernel::fdb(&node.netns, "flat.4096");
    let (mac, vtep) = fdb.first().expect("an entry");
    let routes = kernel::routes(&node.netns);
    let metric = routes.iter().find(|route| route.dst == "10.244.2.0/24").expect("a route").metric;
    let fill = |text: &str| {
        [
            ("METRIC", metric.to_string()),
            ("MAC", mac.clone()),
            ("VTEP", vtep.to_string()),
            ("VETH", pod.veth().to_owned()),
            ("POD4", pod.v4().to_string()),
            ("POD6", pod.v6().to_string()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    // Each with a word of what the watch says about it.
    for (spoil, said) in [
        ("ip route del 10.244.2.0/24", "ip route replace 10.244.2.0/24"),
        ("ip -6 route del fd00:10:244:2::/64", "ip route replace fd00:10:244:2::/64"),
        (
            "ip route replace 10.244.2.0/24 dev under0 metric METRIC proto 102",
            "ip route replace 10.244.2.0/24",
        ),
        ("ip route add 10.244.77.0/24 dev flat.4096 proto 102", "ip route delete 10.244.77.0/24"),
        ("ip route del unreachable 10.244.0.0/16", "ip route replace unreachable 10.244.0.0/16"),
        ("ip neigh del 10.244.2.0 dev flat.4096", "ip neigh replace 10.244.2.0"),
        ("ip neigh del fd00:10:244:2:: dev flat.4096", "ip neigh replace fd00:10:244:2::"),
        (
            "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 dev flat.4096 nud permanent",
            "ip neigh replace 10.244.2.0",
        ),
        (
            "ip neigh add 10.244.77.0 lladdr 02:00:00:00:00:99 dev flat.4096 nud permanent proto 102",
            "ip neigh delete 10.244.77.0",
        ),
        ("bridge fdb del MAC dev flat.4096 dst VTEP", "bridge fdb replace MAC"),
        ("bridge fdb replace MAC dev flat.4096 dst 192.168.50.77", "bridge fdb replace MAC"),
        (
            "bridge fdb add 02:00:00:00:00:99 dev flat.4096 dst 192.168.50.77",
            "bridge fdb delete 02:00:00:00:00:99",
        ),
        ("ip addr del 10.244.1.0/32 dev flat.4096", "ip addr add 10.244.1.0/32"),
        ("ip addr del fd00:10:244:1::/128 dev flat.4096", "ip addr add fd00:10:244:1::/128"),
        ("ip addr add 10.9.9.9/32 dev flat.4096", "ip addr delete 10.9.9.9/32"),
        ("ip link set flat.4096 mtu 1300", "ip link set flat.4096 mtu 1450"),
        ("ip link set flat.4096 down", "ip link set flat.4096 up"),
        ("ethtool -K flat.4096 gro on", "ethtool -K flat.4096 gro off"),
        ("ip link del flat.4096", "ip link add flat.4096"),
        ("sysctl -qw net.ipv4.conf.under0.forwarding=0", "net/ipv4/conf/under0/forwarding=1"),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", "net/ipv6/conf/all/forwarding=1"),
        ("sysctl -qw net.ipv4.conf.flat/4096.rp_filter=1", "net.ipv4.conf.flat.4096.forwarding=1"),
        ("nft delete table inet flatnet", " changes made\n"),
        ("nft flush chain inet flatnet prerouting-4096", "nft (table inet flatnet)"),
        ("ip route del POD4/32", "ip route add POD4/32 dev VETH"),
        ("ip -6 route del POD6/128", "ip route add POD6/128 dev VETH"),
        ("ip neigh del POD4 dev VETH", "ip neigh replace POD4"),
        ("ip neigh del POD6 dev VETH", "ip neigh replace POD6"),
        ("ip link set VETH group 0", "ip link set VETH group"),
        ("ip link set VETH down", "ip link set VETH up"),
        ("sysctl -qw net.ipv4.conf.VETH.rp_filter=0", "net.ipv4.conf.VETH.forwarding=1"),
        ("pod: ip link set eth0 down", "ip link set eth0 up"),
        ("pod: ip link set eth0 mtu 1400", "ip link set eth0 mtu 1450"),
    ] {
        let before = watcher.said().len();
        let spoil = fill(spoil);
        // What of a pod's own namespace shows outside is its carrier and what follows the node's end.
        match spoil.strip_prefix("pod: ") {
            Some("ip link set eth0 mtu 1400") => {
                pod.netns.exec("ip link set eth0 mtu 1500");
                node.netns.exec(&format!("ip link set {} mtu 1500", pod.veth()));
            }
            Some(line) => drop(pod.netns.exec(line)),
            None => drop(node.netns.exec(&spoil)),
        }
        let said = fill(said);
        wait_for(&spoil, || watcher.said()[before..].contains(&said).then_some(()));
        is_put_right(node, &spoil);
    }
    for address in peer.addresses() {
        probe::ping(&pod.netns, address);
    }
}

#[test]
fn what_is_another_programs_makes_the_watch_do_nothing() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let (trace, _watch) = traced(&cluster, node);
    let quiet = messages(&trace);
    // The tables of a service proxy, a container of another program, and a neighbour's chatter.
    for line in [
        "nft add table inet other",
        "nft add chain inet other forward { type filter hook forward priority 0; }",
        "ip link add vethx type veth peer name vethy",
        "ip link set vethx up",
        "ip addr add 172.30.0.1/32 dev vethx",
        "ip route add 172.30.0.2/32 dev vethx",
        "ip neigh replace 192.168.50.99 lladdr 02:00:00:00:00:99 dev under0 nud reachable",
        "nft delete table inet other",
        "ip link del vethx",
    ] {
        node.netns.exec(line);
    }
    // A control: what is ours makes it do something, after it has heard all of the others.
    node.netns.exec("ip route del 10.244.2.0/24");
    wait_for("the route", || {
        kernel::routes(&node.netns).iter().any(|route| route.dst == "10.244.2.0/24").then_some(())
    });
    let sent = messages(&trace).split_off(quiet.len());
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].contains("RTM_NEWROUTE"), "{sent:?}");
}

#[test]
fn a_pod_costs_the_watch_the_same_whatever_stands() {
    // The messages that an ADD costs it.
    let cost = |pods: usize, peers: u8| {
        let mut cluster = Cluster::new(2);
        let others = (3..3 + peers).map(|n| {
            json!({ "name": format!("peer-{n}"), "vtep": format!("192.168.50.{n}"),
                "ranges": [format!("10.244.{n}.0/24")] })
        });
        let own = cluster.nodes.iter().map(Node::entry);
        cluster.write_range_file(&json!({
            "version": 1, "vni": 4096, "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
            "nodes": own.chain(others).collect::<Vec<_>>(),
        }));
        // A file that has just changed is looked at once more.
        cluster.settle();
        let node = cluster.nodes.remove(0);
        let standing: Vec<Pod> = (0..pods).map(|_| node.add("standing")).collect();
        let (trace, _watch) = traced(&cluster, &node);
        let before = messages(&trace).len();
        let looked = || messages(&trace).len() > before && waits(&trace);
        let mut pod = Pod::new("one");
        node.attach(&mut pod);
        wait_for("a look at the pod", || looked().then_some(()));
        let mut sent = messages(&trace).split_off(before);
        assert!(sent.len() <= 40, "{sent:?}");
        // How often it looks while a pod comes depends on the time; what a look is does not.
        sent.sort();
        sent.dedup();
        drop(standing);
        sent
    };
    // What else the node did in its beginning may still be looked at in one of them.
    let mut pairs = (0..5).map(|_| (cost(12, 60), cost(1, 1)));
    assert!(pairs.any(|(many, few)| many == few), "none of five times the same messages");
}

#[test]
fn a_storm_of_events_loses_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.configure("logLevel", json!("info"));
    let node = &cluster.nodes[0];
    let watcher = Watcher::start(node);
    watcher.says(" changes made\n");
    is_put_right(node, "the overlay");
    // More events than any buffer holds, while it does not listen; what concerns it is among the last.
    kill(watcher.pid(), Signal::SIGSTOP).expect("stop the watch");
    let mut batch = String::new();
    for n in 0..60_000_u32 {
        let address = std::net::Ipv4Addr::from(0xc612_0000 + (n & 0xffff));
        batch += &format!("route replace {address}/32 dev {UNDERLAY} metric 9\n");
    }
    let file = cluster.folder().join("storm");
    fs::write(&file, batch).expect("write the batch");
    node.netns.exec(&format!("ip -batch {}", file.display()));
    node.netns.exec("ip route del 10.244.2.0/24");
    kill(watcher.pid(), Signal::SIGCONT).expect("let the watch go on");
    wait_for("the route", || {
        kernel::routes(&node.netns).iter().any(|route| route.dst == "10.244.2.0/24").then_some(())
    });
    watcher.says("more has happened than could be listened to");
}

#[test]
fn what_cannot_be_brought_about_is_not_tried_all_the_time() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // The kernel says so only when the device is there already, and has to go again: an event.
    let holder = node.netns.run(|| UdpSocket::bind("0.0.0.0:4789")).expect("the overlay's port");
    cluster.settle();
    let begun = Instant::now();
    let (trace, _watch) = traced(&cluster, node);
    let makes =
        |message: &&String| message.contains("RTM_NEWLINK") && message.contains("NLM_F_CREATE");
    let tried = || messages(&trace).iter().filter(makes).count();
    let at_first = tried();
    // Not more than one in a second, should this be looked at late.
    let most = 1 + begun.elapsed().as_secs() as usize;
    assert!((1..=most).contains(&at_first), "{at_first} in {:?}", begun.elapsed());
    wait_for("two attempts more", || (tried() >= 3).then_some(()));
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(holder);
    is_put_right(node, "the overlay");
}

#[test]
fn a_new_file_that_an_add_has_applied_is_no_drift() {
    let cluster = Cluster::new(3);
    cluster.list(&[0, 1]);
    let node = &cluster.nodes[0];
    let watcher = Watcher::start(node);
    watcher.says(" changes made\n");
    is_put_right(node, "the overlay");
    let before = watcher.said();
    let third = || kernel::routes(&node.netns).into_iter().find(|r| r.dst == "10.244.3.0/24");
    for listed in [&[0, 1, 2][..], &[0, 1]] {
        cluster.list(listed);
        node.del(&node.add("pod")).silent();
        assert_eq!(third().is_some(), listed.len() == 3, "the ADD applies the file");
    }
    // A control, after which it has heard of all that.
    node.netns.exec("ip route del 10.244.2.0/24");
    watcher.says("  ip route replace 10.244.2.0/24");
    let said = watcher.said().split_off(before.len());
    assert!(!said.contains("10.244.3."), "{said}");
}

#[test]
fn a_changed_file_is_followed_by_its_difference() {
    for direct in [false, true] {
        let mut cluster = Cluster::new(3);
        let write = |cluster: &Cluster, listed: &[usize]| {
            let nodes: Vec<_> = listed.iter().map(|n| cluster.nodes[*n].entry()).collect();
            cluster.write_range_file(&json!({
                "version": 1, "vni": 4096, "directRouting": direct, "nodes": nodes,
                "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
            }));
        };
        write(&cluster, &[0, 1]);
        let watcher = Watcher::start(&cluster.nodes[0]);
        watcher.says(" changes made\n");
        let pod = cluster.nodes[0].add("pod");
        is_put_right(&cluster.nodes[0], "the overlay");
        let (mut said, mut pods) = (watcher.said().len(), Vec::new());
        let mut follow = |cluster: &Cluster, listed: &[usize], what: &str, word: &str| {
            write(cluster, listed);
            wait_for(what, || watcher.said()[said..].contains(word).then_some(()));
            is_put_right(&cluster.nodes[0], what);
            let told = watcher.said().split_off(said);
            said += told.len();
            assert!(!told.contains("10.244.2.") && !told.contains("10:244:2:"), "{told}");
        };
        follow(&cluster, &[0, 1, 2], "a node that joins", "ip route replace fd00:10:244:3::/64");
        pods.push(cluster.nodes[2].add("third"));
        follow(&cluster, &[0, 1], "a node that leaves", "ip route delete fd00:10:244:3::/64");
        // It comes back with another address, as a machine that was replaced.
        let vtep = [192, 168, 50, 33].into();
        cluster.nodes[2].netns.exec("ip addr del 192.168.50.3/24 dev under0");
        cluster.nodes[2].netns.exec("ip addr add 192.168.50.33/24 dev under0");
        cluster.nodes[2].vtep = vtep;
        follow(&cluster, &[0, 1, 2], "a node at another address", "ip route replace 10.244.3.0/24");
        sync::apply(&cluster.nodes[2]);
        for address in pods[0].addresses() {
            probe::ping(&pod.netns, address);
        }
        // More than peers: the node's own range.
        cluster.nodes[0].ranges = vec![json!("10.244.1.0/24"), json!("fd00:10:244:9::/64")];
        write(&cluster, &[0, 1, 2]);
        watcher.says("ip addr add fd00:10:244:9::/128");
        is_put_right(&cluster.nodes[0], "the node's own range");
    }
}

#[test]
fn an_add_does_not_wait_while_pods_are_visited() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let first = node.add("first");
    // Stopped as it enters the first pod: it has brought the overlay about, and holds no lock of it.
    let mut strace = command("strace", ["-qq", "-e", "trace=setns", "-e"]);
    let trace = cluster.folder().join("trace");
    strace.arg("inject=setns:signal=STOP:when=1").arg("-o").arg(&trace);
    strace.arg(ours("flatnet")).arg("sync");
    strace.arg("--conf-dir").arg(conf_dir(node, &[])).process_group(0);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It has something to bring about, so that an ADD that came in between would wait for it.
    node.forget_overlay();
    let child = node.netns.run(|| strace.spawn()).expect("start a sync");
    let tracer = child.id();
    let mut held = Traced(child);
    let stopped = wait_for("the sync to stop", || {
        let children = format!("/proc/{tracer}/task/{tracer}/children");
        let pid = fs::read_to_string(children).ok()?.trim().parse::<i32>().ok()?;
        // Its state tells nothing: strace stops it at every call.
        let told = fs::read_to_string(&trace).ok()?;
        told.contains("--- stopped by SIGSTOP ---").then_some(pid)
    });
    let second = node.add("second");
    assert_eq!(held.0.try_wait().expect("the state of the sync"), None, "it was stopped meanwhile");
    kill(Pid::from_raw(stopped), Signal::SIGCONT).expect("let the sync go on");
    let ended = wait_for("its end", || held.0.try_wait().expect("the state of the sync"));
    assert!(ended.success(), "{ended}");
    assert!(sync::plan(node).is_empty());
    for address in second.addresses() {
        probe::ping(&first.netns, address);
    }
}

#[test]
fn a_sync_asks_for_no_table_of_the_node_for_a_pod() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let calls = || {
        let trace = cluster.folder().join("trace");
        let mut strace = command("strace", ["-f", "-qq", "-e", "trace=sendto,setns", "-o"]);
        strace.arg(&trace).arg(ours("flatnet")).args(["sync", "--conf-dir"]);
        strace.arg(conf_dir(node, &[]));
        let output = node.netns.finish(&mut strace, b"");
        assert!(output.status.success(), "{}", said(&output));
        let trace = fs::read_to_string(&trace).expect("the trace");
        let count = |word: &str| trace.lines().filter(|line| line.contains(word)).count();
        [count("setns("), count("NLM_F_DUMP"), count("sendto(")]
    };
    let mut pods = Vec::new();
    let mut counted = Vec::new();
    for more in [2, 2, 4] {
        pods.extend((0..more).map(|_| node.add("pod")));
        counted.push(calls());
    }
    let each = |from: usize, by: usize| {
        let (less, more) = (counted[from], counted[from + 1]);
        [0, 1, 2].map(|n| (more[n] - less[n]) as f64 / by as f64)
    };
    // Into its namespace and back. What is asked there strace does not read, so no table is seen.
    assert_eq!(each(0, 2), [2.0, 0.0, 7.0], "{counted:?}");
    assert_eq!(each(1, 4), [2.0, 0.0, 7.0], "{counted:?}");
}
