//! Kubernetes as the agent's source: two nodes' views of one cluster, with the rights that agents have there.
//!
//! The Nodes are made by hand. The agents are on a host of their own, whose cable can be taken away.

use std::process::ExitCode;

use flatnet_agent::kubernetes::Kubernetes;
use flatnet_agent::source::{Deed, Notice, Refusal, Source as _};
use flatnet_cluster::agent::{self, Agents, blocks, nodes};
use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::steps;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

#[path = "source/away.rs"]
mod away;

use away::{
    a_store_that_was_restored_is_read_again, an_api_server_goes_and_comes_back,
    what_changed_behind_its_back_is_seen,
};

fn main() -> ExitCode {
    let settings = Settings::new("source", 0);
    let steps = steps![
        a_node_is_waited_for,
        own_objects_are_the_nodes,
        a_range_is_one_nodes,
        an_agent_writes_what_is_its_own,
        heartbeats_cost_nothing,
        a_condition_and_an_event_are_written_once,
        what_was_written_by_hand_ends_nothing,
        a_node_that_was_made_again_keeps_its_blocks,
        an_api_server_goes_and_comes_back,
        what_changed_behind_its_back_is_seen,
        a_store_that_was_restored_is_read_again,
    ];
    steps::take(&settings, steps)
}

fn range(text: &str) -> IpNetwork {
    text.parse().expect("a range")
}

fn put(address: &str) -> Deed {
    Deed::PutNode { vtep: address.parse().expect("an address") }
}

/// Makes a Node; the controller manager gives it ranges.
fn make_node(cluster: &Cluster, name: &str, address: &str) {
    cluster
        .kubectl()
        .apply(&[json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})]);
    patch_status(
        cluster,
        name,
        &json!({"addresses": [{"type": "InternalIP", "address": address}]}),
    );
}

fn patch_status(cluster: &Cluster, node: &str, status: &Value) {
    let patch = format!("--patch={}", json!({"status": status}));
    cluster.kubectl().must(&[
        "patch",
        "node",
        node,
        "--subresource=status",
        "--type=merge",
        &patch,
    ]);
}

/// The agents of the two nodes, in their place. A step begins with neither of them knowing anything.
fn with_agents(
    cluster: &Cluster,
    work: impl FnOnce(&Agents, &mut Kubernetes, &mut Kubernetes) + Send,
) {
    let [one, other] = ["n1", "n2"].map(|node| agent::kubeconfig(cluster, node));
    cluster.underlay.outside.run(move || {
        let agents = Agents::default();
        let (mut one, mut other) = (agents.source("n1", &one), agents.source("n2", &other));
        agents.until("first list", &mut one, |source| source.cluster());
        agents.until("first list", &mut other, |source| source.cluster());
        work(&agents, &mut one, &mut other);
    });
}

fn has_blocks(source: &Kubernetes, wanted: &[&str]) -> Option<()> {
    let seen = source.cluster()?;
    (blocks(&seen) == wanted).then_some(())
}

fn a_node_is_waited_for(cluster: &mut Cluster) {
    agent::install(cluster);
    make_node(cluster, "n1", "192.0.2.1");
    // Its token is bound to a Node, so it has one of another here.
    let kubeconfig = agent::kubeconfig(cluster, "n1");
    let cluster = &*cluster;
    cluster.underlay.outside.run(move || {
        let agents = Agents::default();
        let mut source = agents.source("n2", &kubeconfig);
        agents.until("first list", &mut source, |source| source.cluster());
        assert_eq!(source.own(), None);
        make_node(cluster, "n2", "192.0.2.2");
        let own = agents.until("own Node with ranges", &mut source, |source| {
            source.own().filter(|own| own.ranges.len() == 2 && !own.addresses.is_empty())
        });
        assert_eq!(own.addresses, ["192.0.2.2".parse::<std::net::IpAddr>().expect("an address")]);
        assert!(own.ranges.iter().all(|range| matches!(range.prefix(), 24 | 64)), "{own:?}");
        assert_eq!(source.trouble(), None);
    });
}

fn own_objects_are_the_nodes(cluster: &mut Cluster) {
    let cluster = &*cluster;
    with_agents(cluster, |agents, one, other| {
        agents.carry_out(one, put("192.0.2.1")).expect("a FlatnetNode");
        agents.carry_out(one, Deed::Claim(range("10.50.0.0/24"))).expect("a block");
        agents.carry_out(one, Deed::Claim(range("fd00:50::/64"))).expect("a block");
        agents.until("both blocks", other, |source| {
            has_blocks(source, &["10.50.0.0/24 n1", "fd00:50::/64 n1"])
        });
        agents.carry_out(one, put("192.0.2.101")).expect("another address");
        agents.carry_out(one, Deed::Retire(range("10.50.0.0/24"))).expect("a retiring block");
        agents.until("what changed", other, |source| {
            has_blocks(source, &["10.50.0.0/24 n1!", "fd00:50::/64 n1"])?;
            (nodes(&source.cluster()?) == ["n1 192.0.2.101"]).then_some(())
        });
        agents.carry_out(one, Deed::Claim(range("10.50.0.0/24"))).expect("a block again");
        agents.carry_out(one, Deed::Release(range("fd00:50::/64"))).expect("no block");
        agents.carry_out(one, Deed::Release(range("fd00:50::/64"))).expect("no block still");
        agents.until("what is left", other, |source| has_blocks(source, &["10.50.0.0/24 n1"]));
    });
    let node = &cluster.kubectl().objects(&["node", "n1"])[0];
    let mine = cluster.kubectl().objects(&["flatnetnodes,flatnetblocks"]);
    assert_eq!(mine.len(), 2);
    for object in mine {
        let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"]}]);
        assert_eq!(object["metadata"]["ownerReferences"], owner);
    }
}

fn a_range_is_one_nodes(cluster: &mut Cluster) {
    with_agents(cluster, |agents, one, other| {
        for number in 0..20 {
            let claim = || Deed::Claim(range(&format!("10.51.{number}.0/24")));
            let results = agents.race((one, claim()), (other, claim()));
            let holder = match &results {
                [Ok(()), Err(Refusal::Taken { holder, .. })] if holder == "n1" => &mut *one,
                [Err(Refusal::Taken { holder, .. }), Ok(())] if holder == "n2" => &mut *other,
                _ => panic!("{results:?}"),
            };
            agents.carry_out(holder, claim()).expect("its own");
            agents
                .carry_out(holder, Deed::Release(range(&format!("10.51.{number}.0/24"))))
                .expect("free");
        }
        // What is another's is not released.
        agents.carry_out(other, Deed::Release(range("10.50.0.0/24"))).expect("nothing to do");
        agents.until("what is left", other, |source| has_blocks(source, &["10.50.0.0/24 n1"]));
    });
}

/// An agent with the token of another node; everything else is as it always is.
fn an_agent_writes_what_is_its_own(cluster: &mut Cluster) {
    let stolen = agent::kubeconfig(cluster, "n2");
    cluster.underlay.outside.run(|| {
        let agents = Agents::default();
        let mut posing = agents.source("n1", &stolen);
        agents.until("own Node", &mut posing, |source| source.own());
        let mut refused = |deed: Deed| match agents.carry_out(&mut posing, deed.clone()) {
            Err(Refusal::Failed(why)) => {
                assert!(why.contains("node n2") && why.contains("own"), "{deed:?}: {why}");
            }
            other => panic!("{deed:?}: {other:?}"),
        };
        refused(put("192.0.2.66"));
        refused(Deed::Claim(range("10.52.0.0/24")));
        refused(Deed::Retire(range("10.50.0.0/24")));
        refused(Deed::Release(range("10.50.0.0/24")));
        let why =
            agents.available(&mut posing).expect_err("a foreign Node's condition").to_string();
        assert!(why.contains("own Node only"), "{why}");
        let mut honest = agents.source("n2", &stolen);
        agents.until("own Node", &mut honest, |source| source.own());
        agents.carry_out(&mut honest, put("192.0.2.2")).expect("its own");
        agents.until("both nodes, unchanged", &mut honest, |source| {
            has_blocks(source, &["10.50.0.0/24 n1"])?;
            (nodes(&source.cluster()?) == ["n1 192.0.2.101", "n2 192.0.2.2"]).then_some(())
        });
    });
}

fn heartbeats_cost_nothing(cluster: &mut Cluster) {
    let cluster = &*cluster;
    // As large as Nodes are.
    let image = |number| json!({"names": [format!("registry.example/some/image-{number}@sha256:{:064}", number)], "sizeBytes": 1});
    patch_status(cluster, "n1", &json!({"images": (0..50).map(image).collect::<Vec<_>>()}));
    with_agents(cluster, |agents, one, _| {
        agents.until("own Node", one, |source| source.own().filter(|own| !own.ranges.is_empty()));
        let counts = one.requests();
        let (before, asked) = (counts.received_bytes(), counts.answered());
        for minute in 0..5 {
            let time = format!("2026-01-01T00:{minute:02}:00Z");
            for node in ["n1", "n2"] {
                let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": time}]);
                patch_status(cluster, node, &json!({"conditions": ready}));
            }
        }
        // It comes behind them.
        patch_status(
            cluster,
            "n1",
            &json!({"addresses": [{"type": "InternalIP", "address": "192.0.2.101"}]}),
        );
        agents.until("new address", one, |source| {
            source.own().filter(|own| own.addresses[0].to_string() == "192.0.2.101")
        });
        let gets = |answered: &std::collections::BTreeMap<(&'static str, u16), u64>| {
            answered.get(&("get", 200)).copied().unwrap_or_default()
        };
        assert_eq!(
            gets(&counts.answered()),
            gets(&asked) + 1,
            "asked for at more than the new address"
        );
        let whole = cluster.kubectl().must(&["get", "--raw", "/api/v1/nodes/n1"]).len() as u64;
        let heartbeats = counts.received_bytes() - before - whole;
        println!("five heartbeats of a Node of {whole} bytes: {heartbeats} bytes");
        assert!(heartbeats < whole, "{heartbeats}");
    });
}

fn a_condition_and_an_event_are_written_once(cluster: &mut Cluster) {
    let cluster = &*cluster;
    let condition = || {
        let node = cluster.kubectl().objects(&["node", "n1"]).remove(0);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "NetworkUnavailable")
    };
    let events = || {
        let events = cluster.kubectl().objects(&["events", "--namespace=default"]);
        let ours = |event: &Value| {
            event["involvedObject"]["name"] == "n1" && event["reason"] == "EntryRejected"
        };
        let ours = events.into_iter().filter(ours);
        ours.filter_map(|event| Some(event["message"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let notice = |message: &str| Notice {
        reason: "EntryRejected",
        message: message.to_owned(),
        warning: true,
    };
    with_agents(cluster, |agents, one, _| {
        agents.until("own Node", one, |source| source.own());
        agents.available(one).expect("a condition");
        let set = condition().expect("a condition");
        assert_eq!((&set["status"], &set["reason"]), (&json!("False"), &json!("FlatnetIsUp")));
        let before = one.requests().answered();
        agents.available(one).expect("nothing to do");
        assert_eq!(one.requests().answered(), before);
        for message in ["first", "first", "first"] {
            agents.tell(one, &notice(message), || events().contains(&"first".to_owned()));
        }
        agents.tell(one, &notice("last"), || events().contains(&"last".to_owned()));
        let mut told = events();
        told.sort();
        assert_eq!(told, ["first", "last"]);
    });
}

fn what_was_written_by_hand_ends_nothing(cluster: &mut Cluster) {
    let cluster = &*cluster;
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "flatnet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let refused = |object: Value| {
        let file = cluster.folder().join("object.json");
        std::fs::write(&file, object.to_string()).expect("write an object");
        let create = ["create", "--filename", &file.display().to_string()].map(str::to_owned);
        let words: Vec<&str> = create.iter().map(String::as_str).collect();
        cluster.kubectl().run(&words).expect_err("an object that is none")
    };
    assert!(refused(object("FlatnetNode", "x", json!({"vtep": 7}))).contains("spec.vtep"));
    assert!(
        refused(object("FlatnetNode", "x", json!({"vtep": "host.example"}))).contains("spec.vtep")
    );
    let other_name = json!({"range": "10.60.0.0/24", "node": "x"});
    assert!(
        refused(object("FlatnetBlock", "10-61-0-0-24", other_name))
            .contains("the name must be the range's")
    );
    with_agents(cluster, |agents, one, _| {
        // What no pattern tells from a range is for whoever reads them.
        let nonsense = json!({"range": "10.999.0.0/24", "node": "nobody"});
        cluster.kubectl().apply(&[object("FlatnetBlock", "10-999-0-0-24", nonsense)]);
        agents.until("nonsense", one, |source| {
            let nonsense = r#"10-999-0-0-24: "10.999.0.0/24" is not a CIDR, as in "10.244.1.0/24""#;
            has_blocks(source, &[nonsense, "10.50.0.0/24 n1"])
        });
        let changed = [
            "patch",
            "flatnetblock",
            "10-999-0-0-24",
            "--type=merge",
            r#"--patch={"spec":{"node":"n2"}}"#,
        ];
        let why = cluster.kubectl().run(&changed).expect_err("a block that changes hands");
        assert!(why.contains("never changes hands"), "{why}");
        cluster.kubectl().delete(&["flatnetblock", "10-999-0-0-24"]);
        agents.until("no nonsense", one, |source| has_blocks(source, &["10.50.0.0/24 n1"]));
    });
}

/// With the garbage collector of a real cluster.
fn a_node_that_was_made_again_keeps_its_blocks(cluster: &mut Cluster) {
    let cluster = &*cluster;
    with_agents(cluster, |agents, one, other| {
        agents.until("own Node", one, |source| source.own());
        cluster.kubectl().delete(&["node", "n1"]);
        agents.until("no own Node", one, |source| source.own().is_none().then_some(()));
        agents.until("collected objects", one, |source| {
            has_blocks(source, &[])?;
            (nodes(&source.cluster()?) == ["n2 192.0.2.2"]).then_some(())
        });
        // Its token was bound to the Node that is gone, which a pod's is not.
        let admin = cluster.folder().join("control/admin.conf");
        let mut one = agents.source("n1", &admin);
        agents.until("first list", &mut one, |source| source.cluster());
        agents
            .carry_out(&mut one, Deed::Claim(range("10.50.0.0/24")))
            .expect("a block without an owner");
        let taken = agents.carry_out(other, Deed::Claim(range("10.50.0.0/24")));
        assert!(
            matches!(taken, Err(Refusal::Taken { ref holder, .. }) if holder == "n1"),
            "{taken:?}"
        );
        make_node(cluster, "n1", "192.0.2.1");
        let new = cluster.kubectl().objects(&["node", "n1"])[0]["metadata"]["uid"].clone();
        agents.until("own Node", &mut one, |source| source.own());
        let owned = || {
            let block = cluster.kubectl().objects(&["flatnetblock", "10-50-0-0-24"]).remove(0);
            block["metadata"]["ownerReferences"][0]["uid"] == new
        };
        let waiting =
            Notice { reason: "Test", message: "so that time goes on".to_owned(), warning: false };
        agents.tell(&mut one, &waiting, owned);
        agents.until("block", other, |source| has_blocks(source, &["10.50.0.0/24 n1"]));
    });
}
