//! Addresses from another IPAM plugin: the reference host-local and static, and one that notes how
//! it was called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Call;
use flatnet_tests::cnitool::{CHAIN_VERSION, Tool, cni_path, entry, script};
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::ours;
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, probe, snapshot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A call of flatnet for a pod, with the reference plugins and the scripts in CNI_PATH.
fn call<'a>(cluster: &Cluster, node: &'a Node, verb: &str, pod: &Pod) -> Call<'a> {
    node.call_for(verb, pod).env("CNI_PATH", &cni_path(cluster))
}

/// A cluster of two nodes whose addresses come from this IPAM plugin.
fn delegating(version: &str, ipam: &Value) -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.configure("cniVersion", json!(version));
    cluster.configure("ipam", ipam.clone());
    cluster
}

/// `ipam` for the reference host-local, in the range of node-a, with its files in a folder.
fn host_local(folder: &Path, start: &str, end: &str) -> Value {
    let range = json!({ "subnet": "10.244.1.0/24", "rangeStart": start, "rangeEnd": end });
    json!({ "type": "host-local", "ranges": [[range]], "dataDir": folder })
}

/// The addresses that host-local holds.
fn held(folder: &Path) -> Vec<String> {
    let names = snapshot::folder(folder).into_keys().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        name.starts_with("10.").then_some(name)
    });
    names.collect()
}

#[test]
fn host_local_gives_addresses_and_gets_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let cluster =
        delegating(CHAIN_VERSION, &host_local(folder.path(), "10.244.1.40", "10.244.1.49"));
    let node = &cluster.nodes[0];
    let tool = Tool::new(&cluster, CHAIN_VERSION, &[entry(&cluster)]);
    let pod = tool.add(node, "delegated", &json!({}));
    assert_eq!(pod.addresses(), ["10.244.1.40".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(held(folder.path()), ["10.244.1.40"]);
    assert_eq!(node.leases(), Vec::<Value>::new(), "host-local keeps the lease");
    let mut plain = cluster.network.configuration.clone();
    plain.as_object_mut().unwrap().remove("ipam");
    let mut peer = Pod::new("peer");
    let add = cluster.nodes[1].call_for("ADD", &peer).stdin(plain.to_string().as_bytes()).run();
    peer.result = add.result();
    probe::ping(&pod.netns, peer.v4());
    probe::ping(&peer.netns, pod.v4());
    tool.call(node, "check", &pod).succeed();
    for _ in 0..2 {
        tool.call(node, "del", &pod).succeed();
        assert_eq!(held(folder.path()), Vec::<String>::new());
        node.assert_no_attachment();
    }
}

#[test]
fn static_gives_the_address_that_is_written_or_asked_for() {
    let cluster = delegating(
        CHAIN_VERSION,
        &json!({
            "type": "static",
            "addresses": [{ "address": "10.244.1.77/24" }, { "address": "fd00:10:244:1::77/64" }],
            "routes": [{ "dst": "10.244.0.0/16" }, { "dst": "fd00:10:244::/56" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        }),
    );
    let node = &cluster.nodes[0];
    let pod = Pod::new("static");
    let result = call(&cluster, node, "ADD", &pod).run().result();
    assert_eq!(result["ips"][0]["address"], "10.244.1.77/32");
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::77/128");
    assert_eq!(result["dns"], json!({ "nameservers": ["10.96.0.10"] }));
    let expected = json!([
        { "dst": "10.244.0.0/16", "gw": "169.254.1.1" },
        { "dst": "fd00:10:244::/56", "gw": "fe80::1" },
    ]);
    assert_eq!(result["routes"], expected, "its routes, through our gateway");
    assert!(pod.netns.json("ip -j -4 route show default").is_empty());
    call(&cluster, node, "DEL", &pod).run().silent();

    let cluster = delegating(CHAIN_VERSION, &json!({ "type": "static" }));
    let node = &cluster.nodes[0];
    let args = "IgnoreUnknown=1;IP=10.244.1.78/24";
    let result = call(&cluster, node, "ADD", &pod).env("CNI_ARGS", args).run().result();
    assert_eq!(result["ips"][0]["address"], "10.244.1.78/32");
    call(&cluster, node, "DEL", &pod).env("CNI_ARGS", args).run().silent();
    node.assert_no_attachment();
}

/// The kernel alone tells that it stands: no lease of flatnet's does.
#[test]
fn a_repeated_add_is_an_error_that_takes_nothing_from_the_living() {
    let folder = tempfile::tempdir().unwrap();
    for ipam in [
        json!({ "type": "static", "addresses": [{ "address": "10.244.1.77/24" }] }),
        host_local(folder.path(), "10.244.1.40", "10.244.1.49"),
    ] {
        let cluster = delegating(CHAIN_VERSION, &ipam);
        let node = &cluster.nodes[0];
        let mut pod = Pod::new("standing");
        pod.result = call(&cluster, node, "ADD", &pod).run().result();
        kernel::wait_until_up(&node.netns, pod.veth());
        let all = || {
            (snapshot::namespace(&node.netns), snapshot::namespace(&pod.netns), held(folder.path()))
        };
        let before = all();
        let elsewhere = Pod { container_id: pod.container_id.clone(), ..Pod::new("elsewhere") };
        let error = call(&cluster, node, "ADD", &elsewhere).run().error();
        assert_eq!(error.code, 102, "{error:?}");
        assert_eq!(all(), before);
        assert_eq!(kernel::link(&elsewhere.netns, "eth0"), None);
        call(&cluster, node, "DEL", &pod).run().silent();
        node.assert_no_attachment();
        assert_eq!(held(folder.path()), Vec::<String>::new());
    }
}

#[test]
fn an_address_that_no_other_node_would_send_to_is_refused_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut ipam = host_local(folder.path(), "10.244.9.40", "10.244.9.49");
    ipam["ranges"][0][0]["subnet"] = json!("10.244.9.0/24");
    let cluster = delegating(CHAIN_VERSION, &ipam);
    let pod = Pod::new("elsewhere");
    let error = call(&cluster, &cluster.nodes[0], "ADD", &pod).run().error();
    assert_eq!(error.code, 7, "{error:?}");
    assert!(error.msg.contains("10.244.9.40"), "{error:?}");
    assert_eq!(held(folder.path()), Vec::<String>::new());
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
}

#[test]
fn a_later_failure_gives_the_address_back() {
    let folder = tempfile::tempdir().unwrap();
    let cluster =
        delegating(CHAIN_VERSION, &host_local(folder.path(), "10.244.1.40", "10.244.1.49"));
    let pod = Pod::new("occupied");
    pod.netns.exec("ip link add eth0 type bridge");
    let error = call(&cluster, &cluster.nodes[0], "ADD", &pod).run().error();
    assert_eq!(error.code, 102, "{error:?}");
    assert_eq!(held(folder.path()), Vec::<String>::new());
    cluster.nodes[0].assert_no_attachment();
}

#[test]
fn a_full_host_local_says_so_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let cluster =
        delegating(CHAIN_VERSION, &host_local(folder.path(), "10.244.1.40", "10.244.1.40"));
    let (first, second) = (Pod::new("first"), Pod::new("second"));
    let node = &cluster.nodes[0];
    call(&cluster, node, "ADD", &first).run().result();
    let error = call(&cluster, node, "ADD", &second).run().error();
    assert!(error.msg.contains("no IP addresses available in range set"), "{error:?}");
    assert_eq!(error.version, CHAIN_VERSION);
    call(&cluster, node, "DEL", &first).run().silent();
    call(&cluster, node, "ADD", &second).run().result();
    call(&cluster, node, "DEL", &second).run().silent();
}

/// An IPAM plugin that notes verb, environment and input of each call in a folder, then does as the
/// last words say.
fn noting(cluster: &Cluster, then: &str) -> PathBuf {
    let notes = cluster.folder().join("notes");
    fs::create_dir(&notes).unwrap();
    let n = notes.display();
    let text = format!(
        "echo $CNI_COMMAND >> {n}/calls; env | grep ^CNI_ | sort > {n}/$CNI_COMMAND.env
         cat > {n}/$CNI_COMMAND.stdin; echo a word from $CNI_COMMAND >&2
         {then}"
    );
    script(cluster, "noting", &text);
    notes
}

#[test]
fn the_delegate_gets_the_same_environment_and_the_same_bytes() {
    let cluster = delegating("1.1.0", &json!({ "type": "noting" }));
    // An answer in another version than was asked for is converted.
    let notes = noting(
        &cluster,
        r#"[ $CNI_COMMAND = ADD ] || exit 0
           echo '{"cniVersion":"0.2.0","ip4":{"ip":"10.244.1.60/24","gateway":"10.244.1.1"}}'"#,
    );
    let node = &cluster.nodes[0];
    let mut pod = Pod::new("noted");
    let compact = cluster.network.configuration.to_string();
    // Spaces, an order and a key that no rewriting would keep.
    let input = format!(" {}  ,\"x-unknown\" : [1,  2 ] }}\n", &compact[..compact.len() - 1]);
    for verb in ["ADD", "CHECK", "DEL"] {
        let mut text = input.clone();
        if verb == "CHECK" {
            text = text.replacen('{', &format!("{{ \"prevResult\": {},", pod.result), 1);
        }
        let call = call(&cluster, node, verb, &pod)
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web-0")
            .stdin(text.as_bytes());
        let outcome = call.run();
        match verb {
            "ADD" => pod.result = outcome.result(),
            _ => outcome.silent(),
        }
        assert!(outcome.stderr().contains(&format!("a word from {verb}")), "{outcome:?}");
        assert_eq!(fs::read_to_string(notes.join(format!("{verb}.stdin"))).unwrap(), text);
        let expected = [
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web-0".to_owned(),
            format!("CNI_COMMAND={verb}"),
            format!("CNI_CONTAINERID={}", pod.container_id),
            "CNI_IFNAME=eth0".to_owned(),
            format!("CNI_NETNS={}", pod.netns.path().display()),
            format!("CNI_PATH={}", cni_path(&cluster)),
        ];
        let env = fs::read_to_string(notes.join(format!("{verb}.env"))).unwrap();
        assert_eq!(env.lines().collect::<Vec<_>>(), expected);
    }
    assert_eq!(pod.result["ips"][0]["address"], "10.244.1.60/32");
    assert_eq!(pod.result["cniVersion"], "1.1.0");
    for verb in ["STATUS", "GC"] {
        node.call(verb).env("CNI_PATH", &cni_path(&cluster)).run().silent();
    }
    let calls = fs::read_to_string(notes.join("calls")).unwrap();
    assert_eq!(
        calls.split_whitespace().collect::<Vec<_>>(),
        ["ADD", "CHECK", "DEL", "STATUS", "GC"]
    );
    node.assert_no_attachment();
}

#[test]
fn the_delegates_error_comes_out_as_it_was() {
    let cluster = delegating("1.1.0", &json!({ "type": "noting" }));
    let object =
        json!({ "cniVersion": "1.1.0", "code": 11, "msg": "busy", "details": "in a minute" });
    let notes =
        noting(&cluster, &format!("[ $CNI_COMMAND = DEL ] && exit 0; echo '{object}'; exit 1"));
    let node = &cluster.nodes[0];
    let pod = Pod::new("refused");
    let error = call(&cluster, node, "ADD", &pod).run().error();
    assert_eq!((error.code, error.msg.as_str()), (11, "busy"));
    assert_eq!(error.details, "in a minute");
    let calls = fs::read_to_string(notes.join("calls")).unwrap();
    assert_eq!(calls, "ADD\nDEL\n", "its failed ADD is undone");
    let status = node.call("STATUS").env("CNI_PATH", &cni_path(&cluster)).run().error();
    assert_eq!((status.code, status.msg.as_str()), (11, "busy"));
    assert_eq!(kernel::link_names(&pod.netns), ["lo".into()].into());
    node.assert_no_attachment();
}

#[test]
fn a_delegate_that_is_not_there_is_named() {
    let cluster = delegating("1.1.0", &json!({ "type": "no-such-ipam" }));
    let pod = Pod::new("waiting");
    let error = call(&cluster, &cluster.nodes[0], "ADD", &pod).run().error();
    assert_eq!(error.code, 7);
    assert!(error.msg.contains("no-such-ipam") && error.msg.contains("CNI_PATH"), "{error:?}");
}

#[test]
fn a_delegate_ends_with_the_call_that_started_it() {
    let cluster = delegating("1.1.0", &json!({ "type": "noting" }));
    let notes = noting(&cluster, "echo $$ > $(dirname $0)/pid; exec sleep 600");
    let node = &cluster.nodes[0];
    let pod = Pod::new("killed");
    let mut flatnet = Command::new(ours("flatnet"));
    flatnet
        .env_clear()
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", &pod.container_id)
        .env("CNI_NETNS", pod.netns.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", cni_path(&cluster))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = node.netns.run(|| flatnet.spawn()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, cluster.network.configuration.to_string().as_bytes())
        .unwrap();
    drop(stdin);
    let pid_file = cluster.folder().join("bin/pid");
    let read = || fs::read_to_string(&pid_file).ok();
    let delegate =
        wait_for("the delegate", || read().and_then(|text| text.trim().parse::<i32>().ok()));
    // As libcni does when a timeout passes: it kills what it has started, and that alone.
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    wait_for("its end", || kill(Pid::from_raw(delegate), None).is_err().then_some(()));
    assert_eq!(fs::read_to_string(notes.join("calls")).unwrap(), "ADD\n");
}
