//! Objects that somebody writes by hand.

use flatnet_cluster::cluster::Cluster;
use flatnet_cluster::patience::until;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{NAMESPACE, agent, agents, asked, assert_all_reach_all, rejected, start};

pub fn wrong_objects_are_told_and_the_rest_goes_on(cluster: &mut Cluster) {
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "flatnet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let node = |name: &str, vtep: &str| object("FlatnetNode", name, json!({ "vtep": vtep }));
    let block = |range: &str, node: &str| {
        let name = range.replace(['.', ':', '/'], "-");
        object("FlatnetBlock", &name, json!({ "range": range, "node": node }))
    };
    let wrong = [
        (
            node("twin", "192.168.50.1"),
            "node twin is left out: its VTEP 192.168.50.1 is that of node-a, which is older",
        ),
        (
            node("inside", "10.244.9.9"),
            "node inside is left out: its VTEP 10.244.9.9 is inside the pod network 10.244.0.0/16",
        ),
        (node("nonsense", "1.2.3"), "node nonsense is left out: "),
        (
            block("10.244.0.0/16", "twin"),
            "block 10-244-0-0-16 is left out: 10.244.0.0/16 overlaps ",
        ),
        (block("10.999.0.0/24", "nobody"), "block 10-999-0-0-24 is left out: "),
    ];
    let descriptions = wrong.clone().map(|(object, _)| object);
    cluster.kubectl().apply(&descriptions);
    for node in &cluster.nodes {
        until("rejected objects", || match rejected(node)? {
            5 => Ok(()),
            count => Err(format!("{}: {count}", node.name)),
        });
        let doctor = ["exec", &agent(cluster, &node.name), NAMESPACE, "--", "flatnet", "doctor"];
        // It has findings.
        let said = cluster.kubectl().run(&doctor).unwrap_or_else(|said| said);
        for (object, _) in &wrong {
            let name = object["metadata"]["name"].as_str().expect("a name");
            assert!(said.contains(&format!(" {name}: ")), "{}: {name}: {said}", node.name);
        }
    }
    until("Events", || {
        let events = cluster.kubectl().get(&["events", "--namespace=default"])?;
        let of_ours = |event: &&Value| {
            event["reason"] == "EntryRejected" && event["involvedObject"]["name"] == "node-a"
        };
        let events = events["items"].as_array().ok_or("no list")?.iter().filter(of_ours);
        let told: Vec<_> = events.filter_map(|event| event["message"].as_str()).collect();
        let is_told = |words: &str| told.iter().any(|message| message.starts_with(words));
        let all = wrong.iter().all(|(_, words)| is_told(words));
        if all { Ok(()) } else { Err(format!("{told:?}")) }
    });
    start(cluster, &[("one", "node-a"), ("two", "node-b"), ("three", "node-c")]);
    assert_all_reach_all(cluster);

    for object in descriptions {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        cluster.kubectl().delete(&[&text(&object["kind"]), &text(&object["metadata"]["name"])]);
    }
    for node in &cluster.nodes {
        until("end of rejected objects", || match rejected(node)? {
            0 => Ok(()),
            count => Err(format!("{}: {count}", node.name)),
        });
        let run = ["exec", &agent(cluster, &node.name), NAMESPACE, "--", "flatnet", "doctor"];
        until("nothing to find", || match cluster.kubectl().run(&run)? {
            said if said.contains("no finding in") => Ok(()),
            said => Err(format!("{}: {said}", node.name)),
        });
    }
    cluster.kubectl().delete(&["pods", "one", "two", "three"]);
}

/// That of the oldest node, first by one of the other family, then by another node's. Its agent makes the object again.
pub fn an_address_that_is_written_over_puts_out_no_other_node(cluster: &mut Cluster) {
    const OWN: &str = "192.168.50.1";
    let kubectl = cluster.kubectl();
    let write = |vtep: &str| {
        let patch = format!("--patch={}", json!({ "spec": { "vtep": vtep } }));
        kubectl.must(&["patch", "flatnetnode", "node-a", "--type=merge", &patch]);
    };
    let until_made_again = || {
        until("object made again", || {
            let object = kubectl.get(&["flatnetnode", "node-a"])?;
            match (&object["spec"]["vtep"], &object["metadata"]["generation"]) {
                (vtep, generation) if *vtep == OWN && *generation == 1 => Ok(()),
                _ => Err(object.to_string()),
            }
        });
    };
    start(cluster, &[("two", "node-b"), ("three", "node-c")]);
    let [first, others @ ..] = &cluster.nodes[..] else { unreachable!() };
    for address in ["fd00:77::1", "192.168.50.2"] {
        write(address);
        until_made_again();

        // Where nobody mends it, it is the one that is left out.
        let stopped = agents(first);
        stopped.iter().for_each(|agent| kill(*agent, Signal::SIGSTOP).expect("stop the agent"));
        write(address);
        for node in others {
            until("the others alone", || match asked(node, "/metrics")? {
                metrics if metrics.contains("\nflatnet_agent_nodes 2\n") => Ok(()),
                metrics => Err(metrics),
            });
            assert_eq!(rejected(node), Ok(1), "{}", node.name);
        }
        stopped.iter().for_each(|agent| kill(*agent, Signal::SIGCONT).expect("let it go on"));
        until_made_again();
        for node in &cluster.nodes {
            until("end of rejected objects", || match rejected(node)? {
                0 => Ok(()),
                count => Err(format!("{}: {count}", node.name)),
            });
        }
    }
    assert_all_reach_all(cluster);
    kubectl.delete(&["pods", "two", "three"]);
}
