//! Calls that meet: whatever one finds of the other, in the end all of an attachment stands or nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::cnitool::{CHAIN_VERSION, cni_path, script};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{Running, command};
use flatnet_tests::wait::wait_for;
use flatnet_tests::watcher::Watcher;
use flatnet_tests::{cli, kernel, snapshot, sync};
use serde_json::json;

/// How often two calls meet.
const ROUNDS: u32 = 60;

/// What stands of the one attachment of a node.
#[derive(Debug, PartialEq)]
struct Stands {
    veths: usize,
    in_pod: bool,
    routes: usize,
    leases: usize,
    addresses: usize,
}

const NOTHING: Stands = Stands { veths: 0, in_pod: false, routes: 0, leases: 0, addresses: 0 };

impl Stands {
    fn look(node: &Node, pod: &Pod, addresses: &Path) -> Self {
        let links = kernel::link_names(&node.netns);
        let routes = kernel::routes(&node.netns);
        Self {
            veths: links.iter().filter(|name| name.starts_with("veth")).count(),
            in_pod: kernel::link(&pod.netns, &pod.ifname).is_some(),
            routes: routes.iter().filter(|route| route.dev.starts_with("veth")).count(),
            leases: node.leases().len(),
            addresses: held(addresses),
        }
    }
}

/// The files in a folder that are called as an address is.
fn held(folder: &Path) -> usize {
    let files = snapshot::folder(folder).into_keys();
    let is_address = |name: &str| name.starts_with("10.") || name.starts_with("fd");
    files.filter(|file| file.file_name().and_then(|n| n.to_str()).is_some_and(is_address)).count()
}

/// Lets a DEL meet the ADD of the same attachment, from long before to long after it; returns how often
/// all stood in the end, and how often nothing did.
fn meet<'a>(
    node: &'a Node,
    addresses: &Path,
    call: impl Fn(&'static str, &Pod) -> Call<'a>,
    all: &Stands,
) -> (u32, u32) {
    let pod = Pod::new("pod");
    let look = || Stands::look(node, &pod, addresses);
    call("ADD", &pod).run().result();
    call("DEL", &pod).run().silent();
    let begun = Instant::now();
    call("ADD", &pod).run().result();
    let takes = begun.elapsed();
    assert_eq!(look(), *all, "an ADD alone leaves all");
    call("DEL", &pod).run().silent();
    assert_eq!(look(), NOTHING, "a DEL alone leaves nothing");
    let (mut stood, mut gone) = (0, 0);
    for round in 0..ROUNDS {
        // From one ADD's time before to one after.
        let shift = takes * round.abs_diff(ROUNDS / 2) * 2 / ROUNDS;
        let (first, second) = if round < ROUNDS / 2 { ("DEL", "ADD") } else { ("ADD", "DEL") };
        let first_call = call(first, &pod).start();
        sleep(shift);
        let second_call = call(second, &pod).start();
        let (one, other) = (first_call.end(), second_call.end());
        let (add, del) = if first == "ADD" { (one, other) } else { (other, one) };
        add.result();
        del.silent();
        let stands = look();
        match stands == *all {
            true => stood += 1,
            false => {
                assert_eq!(stands, NOTHING, "round {round}: {first}, {shift:?}, {second}");
                gone += 1;
            }
        }
        call("DEL", &pod).run().silent();
        assert_eq!(look(), NOTHING, "round {round}");
    }
    (stood, gone)
}

#[test]
fn del_beside_add_leaves_all_or_nothing() {
    for fast_path in [false, true] {
        let mut cluster = Cluster::new(2);
        cluster.configure("fastPath", json!(fast_path));
        let node = &cluster.nodes[0];
        cluster.settle();
        let all = Stands { veths: 1, in_pod: true, routes: 2, leases: 1, addresses: 2 };
        let call = |verb, pod: &Pod| node.call_for(verb, pod);
        let (stood, gone) = meet(node, &node.state().join("addresses"), call, &all);
        assert!(stood > 0 && gone > 0, "{stood} and {gone} of {ROUNDS}");
    }
}

/// The addresses are in another plugin's books, and no lease of ours keeps the two apart.
#[test]
fn del_beside_add_leaves_all_or_nothing_of_another_plugins_addresses() {
    let books = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(2);
    cluster.configure("cniVersion", json!(CHAIN_VERSION));
    let range = json!({ "subnet": "10.244.1.0/24" });
    let ipam = json!({ "type": "host-local", "ranges": [[range]], "dataDir": books.path() });
    cluster.configure("ipam", ipam);
    let node = &cluster.nodes[0];
    cluster.settle();
    let path = cni_path(&cluster);
    let all = Stands { veths: 1, in_pod: true, routes: 1, leases: 0, addresses: 1 };
    let call = |verb, pod: &Pod| node.call_for(verb, pod).env("CNI_PATH", &path);
    let (stood, gone) = meet(node, &books.path().join("pods"), call, &all);
    assert!(stood > 0 && gone > 0, "{stood} and {gone} of {ROUNDS}");
}

/// Two ADDs of the same attachment: one makes it, and the other takes nothing of it back.
#[test]
fn of_two_adds_with_another_plugins_addresses_one_makes_it() {
    let books = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(2);
    cluster.configure("cniVersion", json!(CHAIN_VERSION));
    let range = json!({ "subnet": "10.244.1.0/24" });
    let ipam = json!({ "type": "host-local", "ranges": [[range]], "dataDir": books.path() });
    cluster.configure("ipam", ipam);
    let node = &cluster.nodes[0];
    let path = cni_path(&cluster);
    let pod = Pod::new("pod");
    let call = |verb| node.call_for(verb, &pod).env("CNI_PATH", &path);
    let all = Stands { veths: 1, in_pod: true, routes: 1, leases: 0, addresses: 1 };
    for round in 0..10 {
        let calls = [call("ADD").start(), call("ADD").start()];
        let failed: Vec<_> = calls.into_iter().map(|call| call.end()).collect();
        let failed: Vec<_> =
            failed.iter().filter(|end| !end.status().success()).map(|end| end.error()).collect();
        assert!(matches!(&failed[..], [error] if error.code == 102), "round {round}: {failed:?}");
        let stands = Stands::look(node, &pod, &books.path().join("pods"));
        assert_eq!(stands, all, "round {round}");
        call("DEL").run().silent();
    }
}

fn remove(node: &Node) -> Running {
    let state = node.network.state_dir.display().to_string();
    let mut command = cli::prepared("remove", &["pods", "--force", "--state-dir", &state]);
    node.netns.run(|| Running::start(&mut command, b""))
}

/// What a removed network has not.
fn overlay_stands(node: &Node) -> bool {
    let rules = node.netns.attempt("nft list chain inet flatnet pod-4096").status.success();
    let rules =
        rules || node.netns.attempt("nft list set inet flatnet vteps-4096").status.success();
    kernel::link(&node.netns, &node.overlay()).is_some() && rules
}

#[test]
fn an_add_beside_remove_ends_on_a_network_that_stands() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    cluster.settle();
    node.del(&node.add("before")).silent();
    assert!(overlay_stands(node));
    let gone = remove(node).end();
    assert_eq!(cli::text(&gone, 0), "pods: removed flat.4096 from node-a\n");
    assert!(!overlay_stands(node), "a remove alone leaves nothing");
    let (mut removed, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        node.del(&node.add("before")).silent();
        let pod = Pod::new("pod");
        let shift = Duration::from_micros(200) * round.abs_diff(ROUNDS / 2);
        let (add, remove) = if round < ROUNDS / 2 {
            let remove = remove(node);
            sleep(shift);
            (node.call_for("ADD", &pod).start(), remove)
        } else {
            let add = node.call_for("ADD", &pod).start();
            sleep(shift);
            (add, remove(node))
        };
        let remove = remove.end();
        add.end().result();
        match remove.status.code() {
            Some(0) => removed += 1,
            Some(2) => {
                let why = String::from_utf8_lossy(&remove.stderr).into_owned();
                assert!(why.contains("has pods on this node"), "round {round}: {why}");
                refused += 1;
            }
            code => panic!("round {round}: {code:?}"),
        }
        assert!(overlay_stands(node), "round {round}: {remove:?}");
        let all = Stands { veths: 1, in_pod: true, routes: 2, leases: 1, addresses: 2 };
        assert_eq!(Stands::look(node, &pod, &node.state().join("addresses")), all, "round {round}");
        node.del(&pod).silent();
    }
    assert!(removed > 0 && refused > 0, "{removed} and {refused} of {ROUNDS}");
}

/// What nft tells of changes in a namespace, until it is dropped.
struct Rules {
    child: Child,
    output: PathBuf,
}

impl Rules {
    fn listen(node: &Node) -> Self {
        let output = node.network.state_dir.with_file_name("rules");
        let file = File::create(&output).expect("a file");
        let mut monitor = command("nft", ["monitor"]);
        let child = node.netns.run(|| monitor.stdout(file).spawn()).expect("start nft");
        let rules = Self { child, output };
        rules.told(node);
        rules
    }

    /// All that it has told by now.
    fn told(&self, node: &Node) -> String {
        let mark = format!("mark-{}", fs::metadata(&self.output).expect("the output").len());
        wait_for("word of a change", || {
            node.netns.exec(&format!("nft add table inet {mark}"));
            node.netns.exec(&format!("nft delete table inet {mark}"));
            let told = fs::read_to_string(&self.output).expect("the output");
            told.contains(&format!("delete table inet {mark}")).then_some(told)
        })
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Of two that follow a file one comes second, and finds done what it was about to do.
#[test]
fn two_that_follow_a_file_leave_the_rule_of_the_fast_path() {
    let mut cluster = Cluster::new(3);
    cluster.configure("fastPath", json!(true));
    cluster.list(&[0, 1]);
    sync::apply(&cluster.nodes[0]);
    let mut watchers = ["first", "second"].map(|name| (Watcher::ready(&cluster.nodes[0], name), 0));
    let rules = Rules::listen(&cluster.nodes[0]);
    for round in 0..10 {
        let (listed, word) = match round % 2 {
            0 => (&[0, 1, 2][..], "ip route replace 10.244.3.0/24"),
            _ => (&[0, 1][..], "ip route delete 10.244.3.0/24"),
        };
        cluster.list(listed);
        // Each says what it did, whoever was first.
        for (watcher, said) in &mut watchers {
            wait_for(word, || watcher.said()[*said..].contains(word).then_some(()));
            *said = watcher.said().len();
        }
    }
    let told = rules.told(&cluster.nodes[0]);
    assert!(told.contains("vteps-4096") && !told.contains("fast-path-4096"), "{told}");
    drop(watchers);
    cluster.configure("fastPath", json!(false));
    sync::apply(&cluster.nodes[0]);
    let told = rules.told(&cluster.nodes[0]);
    assert!(told.contains("fast-path-4096"), "{told}");
}

/// A DEL whose folder went from under its feet would fail, and an ADD would lose what it stands on.
#[test]
fn remove_waits_for_the_calls_under_way() {
    let mut cluster = Cluster::new(2);
    cluster.configure("ipam", json!({ "type": "slow" }));
    let [begun, released] = ["begun", "released"].map(|name| cluster.folder().join(name));
    let answer = json!({ "cniVersion": "1.1.0", "ips": [{ "address": "10.244.1.9/24" }] });
    let text = format!(
        "touch {}; until [ -e {} ]; do sleep 0.02; done
         [ $CNI_COMMAND = ADD ] && echo '{answer}'
         exit 0",
        begun.display(),
        released.display()
    );
    script(&cluster, "slow", &text);
    let (node, path) = (&cluster.nodes[0], cni_path(&cluster));
    let pod = Pod::new("pod");
    let call = |verb| node.call_for(verb, &pod).env("CNI_PATH", &path);
    for (verb, code) in [("DEL", 0), ("ADD", 2)] {
        let mut plain = node.network.configuration.clone();
        plain.as_object_mut().expect("an object").remove("ipam");
        node.call("STATUS").stdin(plain.to_string().as_bytes()).run().silent();
        let call = call(verb).start();
        wait_for("the delegate", || begun.exists().then_some(()));
        thread::scope(|scope| {
            let removed = scope.spawn(|| (remove(node).end(), released.exists()));
            // One that does not wait ends long before.
            sleep(Duration::from_millis(300));
            fs::write(&released, "").expect("a file");
            let (output, waited) = removed.join().expect("remove");
            assert_eq!(output.status.code(), Some(code), "{verb}: {output:?}");
            assert!(waited, "{verb}");
        });
        assert!(call.end().status().success(), "{verb}");
        assert_eq!(overlay_stands(node), verb == "ADD");
        for file in [&begun, &released] {
            fs::remove_file(file).expect("a file");
        }
    }
}

#[test]
fn remove_says_what_would_bring_the_network_back() {
    let cluster = Cluster::new(2);
    let [node, other] = &cluster.nodes[..] else { unreachable!() };
    let watcher = Watcher::start(node);
    watcher.says("pods on node-a");
    let refused = remove(node).end();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr);
    for words in ["`flatnet sync --watch` keeps network pods", "systemctl stop flatnet-sync"] {
        assert!(why.contains(words), "{why}");
    }
    assert!(overlay_stands(node), "nothing was taken");
    // The other node is another namespace with the same state folder, and no watch keeps it there.
    node.del(&node.add("pod")).silent();
    other.del(&other.add("pod")).silent();
    cli::text(&remove(other).end(), 0);
    // As the runbook has it: first the configuration.
    let folder = cli::conf_dir(node, &[]);
    fs::remove_file(folder.join("10-pods.conflist")).expect("the configuration");
    assert_eq!(cli::text(&remove(node).end(), 0), "pods: removed flat.4096 from node-a\n");
    assert!(!overlay_stands(node));
    drop(watcher);
    assert!(!overlay_stands(node), "and it stays away");
}
