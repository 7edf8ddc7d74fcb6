//! The shipped manifest in a real API server: what it takes, what an agent may do there, and what it is refused,
//! by tokens as pods of two nodes have them.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flatnet_agent::kubernetes::Network;
use flatnet_agent::source::{Deed, Refusal, Source as _};
use flatnet_cluster::agent::{self, Agents, blocks, nodes};
use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::kubectl::Kubectl;
use flatnet_cluster::patience::until;
use flatnet_cluster::plan::{CONTROL, addresses};
use flatnet_cluster::steps;
use flatnet_tests::program::workspace;
use serde_json::{Value, json};

/// The service account of the agents, and where it is.
const AGENT: &str = "flatnet-agent";
const NAMESPACE: &str = "--namespace=kube-system";

fn main() -> ExitCode {
    // Nodes that are objects alone.
    let settings = Settings::new("admission", 0);
    let steps = steps![
        the_manifest_is_taken_and_applied_again_without_a_change,
        an_agent_writes_its_own_objects,
        it_writes_those_of_no_other_node,
        a_token_of_no_node_writes_nothing,
        of_its_node_it_sets_one_condition,
        it_tells_of_its_own_node,
        it_has_no_other_rights,
        nonsense_is_refused,
        an_administrator_is_held_to_nothing,
        a_second_network_has_blocks_of_its_own,
        a_token_goes_with_its_pod,
    ];
    flatnet_cluster::steps::take(&settings, steps)
}

/// An API server, asked with a token.
struct Agent {
    kubectl: Kubectl,
    folder: PathBuf,
    made: Cell<u32>,
}

impl Agent {
    /// With a token that is bound to what these words say.
    fn new(cluster: &Cluster, name: &str, bound: &[&str]) -> Self {
        let token = [&["create", "token", AGENT, NAMESPACE], bound].concat();
        let token = cluster.kubectl().must(&token);
        let server = format!("https://{}:6443", addresses(CONTROL)[0]);
        let authority = cluster.control.pki.file("ca.crt");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "agent",
            "clusters": [{ "name": "it", "cluster": {
                "server": server, "certificate-authority": authority } }],
            "users": [{ "name": "agent", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "agent", "context": { "cluster": "it", "user": "agent" } }],
        });
        let path = cluster.folder().join(format!("{name}.conf"));
        fs::write(&path, config.to_string()).expect("write a kubeconfig");
        let kubectl = Kubectl::new(&cluster.control.netns, &path);
        Self { kubectl, folder: cluster.folder().to_owned(), made: Cell::new(0) }
    }

    /// With the token of the pod that the DaemonSet has on a node.
    fn of(cluster: &Cluster, node: &str) -> Self {
        let pod = format!("--bound-object-name=agent-of-{node}");
        Self::new(cluster, node, &["--bound-object-kind=Pod", &pod])
    }

    fn create(&self, object: &Value) -> Result<String, String> {
        self.made.set(self.made.get() + 1);
        create(&self.kubectl, &self.folder.join(format!("object-{}", self.made.get())), object)
    }

    fn patch(&self, what: &[&str], patch: &Value) -> Result<String, String> {
        let patch = format!("--patch={patch}");
        self.kubectl.run(&[&["patch", "--type=merge", &patch], what].concat())
    }

    /// As an agent sets the status of a Node.
    fn patch_status(&self, node: &str, patch: &Value) -> Result<String, String> {
        let patch = format!("--patch={patch}");
        let kind = "--type=strategic";
        self.kubectl.run(&["patch", "node", node, "--subresource=status", kind, &patch])
    }
}

fn create(kubectl: &Kubectl, file: &Path, object: &Value) -> Result<String, String> {
    fs::write(file, object.to_string()).expect("write an object");
    kubectl.run(&["create", "--filename", &file.display().to_string()])
}

fn node_object(name: &str, vtep: &str) -> Value {
    json!({ "apiVersion": "flatnet.dev/v1alpha1", "kind": "FlatnetNode",
            "metadata": { "name": name }, "spec": { "vtep": vtep } })
}

fn block_object(name: &str, range: &str, node: &str) -> Value {
    json!({ "apiVersion": "flatnet.dev/v1alpha1", "kind": "FlatnetBlock",
            "metadata": { "name": name }, "spec": { "range": range, "node": node } })
}

/// Asserts that it was refused for this reason.
fn assert_refused(answer: Result<String, String>, reason: &str) {
    let error = answer.expect_err(reason);
    assert!(error.contains(reason), "not {reason}: {error}");
}

fn the_manifest_is_taken_and_applied_again_without_a_change(cluster: &mut Cluster) {
    let path = workspace().join("packaging/kubernetes/flatnet.yaml").display().to_string();
    let apply = ["apply", "--filename", &path];
    let first = cluster.kubectl().must(&apply);
    assert!(first.lines().count() > 10, "{first}");
    assert!(first.lines().all(|line| line.ends_with(" created")), "{first}");
    for name in ["flatnetnodes", "flatnetblocks"] {
        let name = format!("crd/{name}.flatnet.dev");
        cluster.kubectl().wait("condition=Established", &[&name]);
    }
    let again = cluster.kubectl().must(&apply);
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    // The API server has looked at each expression; what it does not like it says.
    for name in ["nodes", "blocks", "status", "events"] {
        let name = format!("validatingadmissionpolicy/flatnet-agent-{name}");
        cluster.kubectl().wait("jsonpath={.status.observedGeneration}=1", &[&name]);
        let policy = &cluster.kubectl().objects(&[&name])[0];
        assert_eq!(policy["status"]["typeChecking"], json!({}), "{policy}");
    }
    for node in ["one", "two"] {
        cluster.kubectl().apply(&[
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } }),
            json!({ "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "name": format!("agent-of-{node}"), "namespace": "kube-system" },
                    // As the DaemonSet has it: without a kubelet, the Node is soon not ready.
                    "spec": { "nodeName": node, "serviceAccountName": AGENT, "hostNetwork": true,
                              "tolerations": [{ "operator": "Exists" }],
                              "containers": [{ "name": "agent", "image": "none" }] } }),
        ]);
    }
    // kubectl asks for what it patches; the agent does not, and has no right to.
    let role = ["create", "clusterrole", "asks", "--verb=get", "--resource=nodes/status"];
    cluster.kubectl().must(&role);
    let account = format!("--serviceaccount=kube-system:{AGENT}");
    cluster.kubectl().must(&[
        "create",
        "clusterrolebinding",
        "asks",
        "--clusterrole=asks",
        &account,
    ]);
}

fn an_agent_writes_its_own_objects(cluster: &mut Cluster) {
    for (node, number) in [("one", 1), ("two", 2)] {
        let agent = Agent::of(cluster, node);
        let name = format!("10-244-{number}-0-24");
        let range = format!("10.244.{number}.0/24");
        agent.create(&node_object(node, &format!("192.0.2.{number}"))).unwrap();
        agent.create(&block_object(&name, &range, node)).unwrap();
    }
    let one = Agent::of(cluster, "one");
    one.patch(&["flatnetnode", "one"], &json!({ "spec": { "vtep": "192.0.2.11" } })).unwrap();
    let retiring = json!({ "spec": { "retiring": true } });
    one.patch(&["flatnetblock", "10-244-1-0-24"], &retiring).unwrap();
    one.create(&block_object("fd00-10-244---120", "fd00:10:244::/120", "one")).unwrap();
    one.kubectl.run(&["delete", "flatnetblock", "fd00-10-244---120"]).unwrap();
    let columns = |what: &str| {
        let table = one.kubectl.run(&["get", what]).unwrap();
        let lines = table.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[..words.len() - 1].join(" ")
        });
        lines.collect::<Vec<String>>()
    };
    assert_eq!(columns("flatnetnodes"), ["NAME VTEP", "one 192.0.2.11", "two 192.0.2.2"]);
    let blocks = [
        "NAME RANGE NODE RETIRING",
        "10-244-1-0-24 10.244.1.0/24 one true",
        "10-244-2-0-24 10.244.2.0/24 two false",
    ];
    assert_eq!(columns("flatnetblocks"), blocks);
}

fn it_writes_those_of_no_other_node(cluster: &mut Cluster) {
    let one = Agent::of(cluster, "one");
    let own = "writes its own FlatnetNode only";
    assert_refused(one.create(&node_object("three", "192.0.2.3")), own);
    let vtep = json!({ "spec": { "vtep": "192.0.2.1" } });
    assert_refused(one.patch(&["flatnetnode", "two"], &vtep), own);
    assert_refused(one.kubectl.run(&["delete", "flatnetnode", "two"]), own);
    let own = "writes blocks of its own node only";
    let block = block_object("10-244-3-0-24", "10.244.3.0/24", "two");
    assert_refused(one.create(&block), own);
    let theirs = ["flatnetblock", "10-244-2-0-24"];
    assert_refused(one.patch(&theirs, &json!({ "spec": { "retiring": true } })), own);
    assert_refused(one.kubectl.run(&["delete", "flatnetblock", "10-244-2-0-24"]), own);
    // Neither taken nor given away.
    let changes_hands = "a block never changes hands";
    assert_refused(one.patch(&theirs, &json!({ "spec": { "node": "one" } })), changes_hands);
    let ours = ["flatnetblock", "10-244-1-0-24"];
    assert_refused(one.patch(&ours, &json!({ "spec": { "node": "two" } })), changes_hands);
    let block = &cluster.kubectl().objects(&["flatnetblock", "10-244-2-0-24"])[0];
    assert_eq!(
        block["spec"],
        json!({ "range": "10.244.2.0/24", "node": "two", "retiring": false })
    );
}

fn a_token_of_no_node_writes_nothing(cluster: &mut Cluster) {
    let nobody = Agent::new(cluster, "nobody", &[]);
    let no_node = "names no node";
    assert_refused(nobody.create(&node_object("three", "192.0.2.3")), no_node);
    assert_refused(nobody.create(&node_object("one", "192.0.2.3")), no_node);
    let block = block_object("10-244-3-0-24", "10.244.3.0/24", "one");
    assert_refused(nobody.create(&block), no_node);
    assert_refused(nobody.patch_status("one", &condition("NetworkUnavailable")), no_node);
    // It is known as what it is, and reads.
    nobody.kubectl.run(&["get", "flatnetnode", "one"]).unwrap();
}

fn condition(name: &str) -> Value {
    json!({ "status": { "conditions": [
        { "type": name, "status": "False", "reason": "FlatnetIsUp", "message": "it stands" } ] } })
}

fn of_its_node_it_sets_one_condition(cluster: &mut Cluster) {
    // As large as a kubelet makes it.
    let image = |number: usize| {
        let digest = "0123456789abcdef".repeat(4);
        json!({ "names": [format!("registry.example/an/image-{number}@sha256:{digest}")], "sizeBytes": 1 })
    };
    let conditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
        .map(|name| json!({ "type": name, "status": "True", "reason": "Kubelet", "message": "m" }));
    let kubelet = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }], "capacity": { "cpu": "4" },
        "images": (0..50).map(image).collect::<Vec<_>>(), "conditions": conditions } });
    let kubelet = format!("--patch={kubelet}");
    let status = ["patch", "node", "one", "--subresource=status", "--type=strategic", &kubelet];
    cluster.kubectl().must(&status);

    let one = Agent::of(cluster, "one");
    one.patch_status("one", &condition("NetworkUnavailable")).unwrap();
    let node = &cluster.kubectl().objects(&["node", "one"])[0];
    let set = node["status"]["conditions"].as_array().unwrap();
    let ours = set.iter().find(|condition| condition["type"] == "NetworkUnavailable").unwrap();
    assert_eq!((&ours["status"], &ours["reason"]), (&json!("False"), &json!("FlatnetIsUp")));
    assert_eq!(set.len(), 5, "{set:?}");

    let other = "writes the status of its own Node only";
    assert_refused(one.patch_status("two", &condition("NetworkUnavailable")), other);
    for patch in [
        condition("Ready"),
        json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.9" }] } }),
        json!({ "status": { "capacity": { "cpu": "400" } } }),
        json!({ "status": { "allocatable": { "cpu": "400" } } }),
        json!({ "status": { "nodeInfo": { "kubeletVersion": "v9" } } }),
        json!({ "status": { "images": [{ "names": ["x"], "sizeBytes": 1 }] } }),
        json!({ "status": { "volumesInUse": ["x"] } }),
        json!({ "status": { "volumesAttached": [{ "name": "x", "devicePath": "y" }] } }),
        json!({ "status": { "daemonEndpoints": { "kubeletEndpoint": { "Port": 1 } } } }),
        json!({ "metadata": { "labels": { "a": "b" } } }),
        json!({ "metadata": { "annotations": { "a": "b" } } }),
        json!({ "metadata": { "finalizers": ["flatnet.dev/a"] } }),
    ] {
        assert_refused(one.patch_status("one", &patch), "and nothing else of a Node");
    }
}

fn it_tells_of_its_own_node(cluster: &mut Cluster) {
    let one = Agent::of(cluster, "one");
    let event = |kind: &str, name: &str| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": { "generateName": "one-", "namespace": "default" },
            "eventTime": "2026-01-02T03:04:05.000000Z", "type": "Warning", "action": "Network",
            "reason": "EntryRejected", "note": "words", "reportingController": "flatnet.dev/agent",
            "reportingInstance": "one",
            "regarding": { "apiVersion": "v1", "kind": kind, "name": name },
        })
    };
    one.create(&event("Node", "one")).unwrap();
    let told = cluster.kubectl().must(&["get", "events", "--namespace=default"]);
    assert!(told.contains("EntryRejected") && told.contains("node/one"), "{told}");
    let own = "tells of its own Node only";
    assert_refused(one.create(&event("Node", "two")), own);
    assert_refused(one.create(&event("Secret", "one")), own);
}

fn it_has_no_other_rights(cluster: &mut Cluster) {
    let one = Agent::of(cluster, "one");
    let can = |words: &[&str]| one.kubectl.run(&[&["auth", "can-i"], words].concat()).is_ok();
    for words in [
        &["get", "nodes"][..],
        &["watch", "nodes"],
        &["patch", "nodes", "--subresource=status"],
        &["create", "flatnetblocks.flatnet.dev"],
        &["create", "events.events.k8s.io", "--namespace=default"],
    ] {
        assert!(can(words), "{words:?}");
    }
    for words in [
        &["list", "nodes"][..],
        &["patch", "nodes"],
        &["delete", "nodes"],
        &["update", "nodes", "--subresource=status"],
        &["deletecollection", "flatnetblocks.flatnet.dev"],
        &["create", "events.events.k8s.io", NAMESPACE],
        &["get", "secrets", NAMESPACE],
        &["list", "pods", "--all-namespaces"],
        &["get", "configmaps", NAMESPACE],
        &["create", "serviceaccounts", "--subresource=token", NAMESPACE],
        &["patch", "validatingadmissionpolicies"],
        &["patch", "customresourcedefinitions"],
    ] {
        assert!(!can(words), "{words:?}");
    }
}

fn nonsense_is_refused(cluster: &mut Cluster) {
    let file = cluster.folder().join("nonsense");
    for (object, reason) in [
        (node_object("three", "node.example"), "spec.vtep"),
        (node_object("three", &"1".repeat(46)), "spec.vtep"),
        (block_object("10-244-3-0-24", "10.244.3.0", "one"), "spec.range"),
        (block_object("10-244-3-0-24", "10.244.3.0/24", ""), "spec.node"),
        (block_object("mine", "10.244.3.0/24", "one"), "the name must be the range's"),
    ] {
        assert_refused(create(cluster.kubectl(), &file, &object), reason);
    }
    let mut object = node_object("three", "192.0.2.3");
    object["spec"] = json!({});
    assert_refused(create(cluster.kubectl(), &file, &object), "spec.vtep");
}

fn an_administrator_is_held_to_nothing(cluster: &mut Cluster) {
    let file = cluster.folder().join("administrator");
    create(cluster.kubectl(), &file, &node_object("three", "192.0.2.3")).unwrap();
    cluster.kubectl().delete(&["flatnetnode", "three"]);
    cluster.kubectl().delete(&["flatnetblock", "10-244-2-0-24"]);
}

fn a_second_network_has_blocks_of_its_own(cluster: &mut Cluster) {
    let kubeconfig = agent::kubeconfig(cluster, "two");
    let claim = |range: &str| Deed::Claim(range.parse().expect("a range"));
    cluster.underlay.outside.run(move || {
        let agents = Agents::default();
        let storage = Network::Secondary("storage".to_owned());
        let mut first = agents.source("two", &kubeconfig);
        let mut second = agents.source_in(storage, "two", &kubeconfig);
        agents.until("podCIDRs", &mut first, |source| {
            source.own().filter(|own| own.ranges.len() == 2)
        });
        let own = agents.until("own Node", &mut second, |source| source.own());
        assert_eq!(own.ranges, []);
        let before = agents.until("first list", &mut first, |source| source.cluster());
        agents.until("first list", &mut second, |source| source.cluster());

        agents.carry_out(&mut second, claim("10.245.0.0/26")).expect("a block");
        agents.until("own block", &mut second, |source| {
            (blocks(&source.cluster()?) == ["10.245.0.0/26 two"]).then_some(())
        });
        agents.carry_out(&mut first, claim("10.244.99.0/24")).expect("a block");
        let after = agents.until("own block", &mut first, |source| {
            source.cluster().filter(|seen| seen.blocks.len() == before.blocks.len() + 1)
        });
        assert!(!blocks(&after).concat().contains("10.245."), "{:?}", blocks(&after));
        assert_eq!(nodes(&after), nodes(&second.cluster().expect("what was listed")));

        let taken = agents.carry_out(&mut first, claim("10.245.0.0/26"));
        let another = "two in another network";
        assert!(
            matches!(&taken, Err(Refusal::Taken { holder, .. }) if holder == another),
            "{taken:?}"
        );
        let range = "10.245.0.0/26".parse().expect("a range");
        agents.carry_out(&mut first, Deed::Release(range)).expect("nothing of this network's");
    });
    let block = &cluster.kubectl().objects(&["flatnetblock", "10-245-0-0-26"])[0];
    assert_eq!(block["metadata"]["labels"], json!({ "flatnet.dev/network": "storage" }));
    let wide = cluster.kubectl().must(&["get", "flatnetblock", "10-245-0-0-26", "--output=wide"]);
    assert!(wide.contains("NETWORK") && wide.contains("storage"), "{wide}");
}

fn a_token_goes_with_its_pod(cluster: &mut Cluster) {
    let two = Agent::of(cluster, "two");
    two.kubectl.run(&["get", "flatnetnodes"]).unwrap();
    let now = ["delete", "pod", "agent-of-two", NAMESPACE, "--force", "--grace-period=0"];
    cluster.kubectl().must(&now);
    // The API server remembers for some seconds that a token is good.
    until("end of a token", || match two.kubectl.run(&["get", "flatnetnodes"]) {
        Err(error) if error.contains("Unauthorized") || error.contains("logged in") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
