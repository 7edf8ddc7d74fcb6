//! The objects for a Kubernetes cluster: what `kubectl apply` takes is what the kustomize base makes,
//! and its parts agree with each other and with what is built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::program::{command, finish, ours, said, workspace};
use serde::Deserialize as _;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    workspace().join("packaging/kubernetes")
}

/// What kustomize makes of a folder.
fn build(folder: &Path) -> String {
    let output = finish(command("kustomize", ["build"]).arg(folder), b"");
    assert!(output.status.success(), "{}: {}", folder.display(), said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// The base and all overlays, with their objects.
fn variants() -> Vec<(String, Vec<Value>)> {
    let overlays = fs::read_dir(folder().join("overlays")).unwrap();
    let mut folders: Vec<PathBuf> = overlays.map(|entry| entry.unwrap().path()).collect();
    assert!(folders.len() >= 3, "{folders:?}");
    folders.push(folder().join("base"));
    folders.iter().map(|path| (path.display().to_string(), objects(&build(path)))).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn container(objects: &[Value]) -> &Value {
    &the(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_manifest_is_what_the_base_makes() {
    let shipped = fs::read_to_string(folder().join("flatnet.yaml")).unwrap();
    assert!(shipped == build(&folder().join("base")), "run `make manifests`");
}

#[test]
fn the_image_is_the_one_that_is_made() {
    for (name, objects) in variants() {
        let image = format!("localhost/flatnet:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(container(&objects)["image"], image, "{name}");
    }
}

#[test]
fn each_network_is_one_that_flatnet_takes() {
    let mut networks = BTreeSet::new();
    for (name, objects) in variants() {
        let map = the(&objects, "ConfigMap");
        assert_eq!(map["metadata"]["namespace"], "kube-system", "{name}");
        // The DaemonSet has the one that is made here, under the name that its content gives it.
        let volumes = &the(&objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"];
        let volume = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "network");
        assert_eq!(volume.unwrap()["configMap"]["name"], map["metadata"]["name"], "{name}");

        let text = map["data"]["network.json"].as_str().unwrap();
        let network: Value = serde_json::from_str(text).unwrap();
        let place = tempfile::tempdir().unwrap();
        let ranges = place.path().join("ranges.json");
        // What the agent fills in.
        let mut conflist = network["conflist"].clone();
        conflist["name"] = network["name"].clone();
        let plugin = &mut conflist["plugins"][0];
        assert_eq!((&plugin["type"], &plugin["rangeFile"]), (&json!("flatnet"), &json!(null)));
        plugin["rangeFile"] = json!(ranges);
        let node = json!({ "name": "one", "vtep": "192.0.2.1", "ranges": network["clusterCIDRs"] });
        let mut content = json!({ "version": 1, "nodes": [node] });
        for key in ["vni", "port", "clusterCIDRs"] {
            content[key] = network[key].clone();
        }
        fs::write(&ranges, content.to_string()).unwrap();
        let mut check = Command::new(ours("flatnet"));
        let output = finish(check.args(["ranges", "check"]).arg(&ranges), b"");
        assert!(output.status.success(), "{name}: {}", said(&output));
        let list = place.path().join("10-pods.conflist");
        fs::write(&list, conflist.to_string()).unwrap();
        let mut install = Command::new(ours("flatnet"));
        install.arg("install").arg("--conf").arg(&list).env_remove("CNI_COMMAND");
        install.arg("--conf-dir").arg(place.path()).arg("--cni-bin-dir").arg(place.path());
        let output = finish(&mut install, b"");
        // The machine of the test is no node: a finding, no failure.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {}", said(&output));
        networks.insert(network["clusterCIDRs"].to_string() + &network["blockSizes"].to_string());
    }
    assert_eq!(networks.len(), variants().len(), "two are the same: {networks:?}");
}

/// Whatever names the agent's service account names the same one.
#[test]
fn one_service_account_has_the_rights_and_is_held_to_its_node() {
    let text = build(&folder().join("base"));
    let objects = objects(&text);
    let account = the(&objects, "ServiceAccount");
    let (name, namespace) = (&account["metadata"]["name"], &account["metadata"]["namespace"]);
    let daemon_set = the(&objects, "DaemonSet");
    assert_eq!(&daemon_set["spec"]["template"]["spec"]["serviceAccountName"], name);
    assert_eq!(&daemon_set["metadata"]["namespace"], namespace);
    let bindings = ["ClusterRoleBinding", "RoleBinding"].map(|kind| the(&objects, kind));
    for binding in bindings {
        let subject = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace }]);
        assert_eq!(binding["subjects"], subject);
    }
    let user = format!(
        "request.userInfo.username == 'system:serviceaccount:{}:{}'",
        namespace.as_str().unwrap(),
        name.as_str().unwrap()
    );
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let bound: BTreeSet<String> = of_kind(&objects, "ValidatingAdmissionPolicyBinding")
        .iter()
        .filter(|binding| binding["spec"]["validationActions"] == json!(["Deny"]))
        .map(|binding| binding["spec"]["policyName"].to_string())
        .collect();
    // What it may write at all is what the policies are about.
    let mut held = BTreeSet::new();
    for policy in &policies {
        let spec = &policy["spec"];
        assert_eq!(spec["matchConditions"].as_array().unwrap().len(), 1);
        assert_eq!(spec["matchConditions"][0]["expression"], user);
        assert_eq!(spec["failurePolicy"], "Fail");
        assert!(bound.contains(&policy["metadata"]["name"].to_string()), "{policy}");
        for rule in spec["matchConstraints"]["resourceRules"].as_array().unwrap() {
            let resources = rule["resources"].as_array().unwrap().iter();
            held.extend(resources.map(|resource| resource.as_str().unwrap().to_owned()));
        }
    }
    let rules =
        ["ClusterRole", "Role"].map(|kind| the(&objects, kind)["rules"].as_array().unwrap());
    let reads = |verb: &Value| ["get", "list", "watch"].contains(&verb.as_str().unwrap());
    let written: BTreeSet<String> = rules
        .into_iter()
        .flatten()
        .filter(|rule| !rule["verbs"].as_array().unwrap().iter().all(reads))
        .flat_map(|rule| rule["resources"].as_array().unwrap())
        .map(|resource| resource.as_str().unwrap().to_owned())
        .collect();
    assert!(written.contains("flatnetblocks") && written.contains("events"));
    assert_eq!(written, held);
}

#[test]
fn a_second_network_meets_the_first_nowhere() {
    let of = |place: &str| objects(&build(&folder().join(place)));
    let (first, second) = (of("base"), of("overlays/second-network"));
    let names = |objects: &[Value]| -> BTreeSet<String> {
        objects.iter().map(|one| format!("{} {}", one["kind"], one["metadata"]["name"])).collect()
    };
    assert!(names(&first).is_disjoint(&names(&second)), "{:?}", names(&second));
    let both = [&first, &second];
    let networks = both.map(|objects| -> Value {
        let text = the(objects, "ConfigMap")["data"]["network.json"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    });
    for key in ["name", "vni", "clusterCIDRs"] {
        assert_ne!(networks[0][key], networks[1][key], "{key}");
    }
    // A pod keeps the default route of its first network.
    assert_eq!(
        networks[1]["conflist"]["plugins"][0]["routes"],
        json!([{ "dst": networks[1]["clusterCIDRs"][0] }])
    );
    let [one, other] = both.map(|objects| &the(objects, "DaemonSet")["spec"]);
    assert_ne!(one["selector"], other["selector"]);
    let labels = other["template"]["metadata"]["labels"].as_object().unwrap();
    let selected = other["selector"]["matchLabels"].as_object().unwrap();
    assert!(selected.iter().all(|(label, value)| labels.get(label) == Some(value)), "{labels:?}");
    let (one, other) = (container(&first), container(&second));
    assert_eq!(one["securityContext"], other["securityContext"]);
    let ports = [one, other].map(|container| {
        assert_eq!(container["ports"].as_array().unwrap().len(), 1);
        &container["ports"][0]["containerPort"]
    });
    assert_ne!(ports[0], ports[1]);
    let arguments = other["args"].as_array().unwrap();
    for argument in ["--secondary", "--listen=$(LISTEN):9450", "--conf-dir=/etc/cni/multus/net.d"] {
        assert!(arguments.contains(&json!(argument)), "{argument} in {arguments:?}");
    }
    let mounted = other["volumeMounts"].to_string();
    assert!(mounted.contains("/etc/cni/multus/net.d") && !mounted.contains("\"/etc/cni/net.d\""));
}
