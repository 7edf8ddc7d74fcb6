//! What Prometheus and Grafana are given: rules that fire when they should and not before, and questions
//! about metrics that the agent has.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use flatnet_tests::program::{command, finish, said, workspace};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    workspace().join("packaging/kubernetes")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join("monitoring").join(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_yaml_ng::from_str(&read(name)).unwrap()
}

/// Every question of the dashboard.
fn asked() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Every condition of the rules.
fn conditions() -> Vec<String> {
    let rules = yaml("alerts.yaml");
    let rules = rules["groups"][0]["rules"].as_array().unwrap().iter();
    rules.map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_rules_fire_for_what_they_are_about_and_for_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("alerts.test.yaml"), read("alerts.test.yaml")).unwrap();
    let test = |rules: &str| {
        fs::write(place.path().join("alerts.yaml"), rules).unwrap();
        let mut promtool = command("promtool", ["test", "rules", "alerts.test.yaml"]);
        finish(promtool.current_dir(place.path()), b"")
    };
    let rules = read("alerts.yaml");
    let output = test(&rules);
    assert!(output.status.success(), "{}", said(&output));
    // Each of them is tried: none can be left out, and none may fire always.
    for rule in rules.split("      - alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let without = rules.replace(&format!("alert: {name}\n"), "alert: Another\n");
        assert!(!test(&without).status.success(), "{name} is not tried");
        let silent = rule.lines().map(|line| line.trim()).find(|line| line.starts_with("for: "));
        assert!(silent.is_some() || rule.contains("_over_time("), "{name} fires at once");
    }
}

#[test]
fn prometheus_understands_every_question_of_the_dashboard() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("asked.yaml");
    let check = |asked: &[String]| {
        let rules: Vec<Value> =
            asked.iter().map(|expr| json!({ "record": "asked", "expr": expr })).collect();
        let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
        fs::write(&file, rules.to_string()).unwrap();
        finish(command("promtool", ["check", "rules"]).arg(&file), b"")
    };
    // As Grafana fills them in.
    let fill = |expr: String| expr.replace("$node", ".*").replace("$__rate_interval", "5m");
    let mut asked: Vec<String> = asked().into_iter().map(fill).collect();
    assert!(asked.len() > 15, "{asked:?}");
    let output = check(&asked);
    assert!(output.status.success(), "{}", said(&output));
    asked.push("rate(".to_owned());
    assert!(!check(&asked).status.success());
}

/// The words of an expression that begin as our metrics do.
fn named(expr: &str) -> BTreeSet<String> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("flatnet_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_one_of_the_agents() {
    let files = ["metrics.rs", "metrics/fast_path.rs"].map(|name| {
        let source = fs::read_to_string(workspace().join("agent/src").join(name)).unwrap();
        source.split("#[cfg(test)]").next().unwrap().to_owned()
    });
    let code = files.concat();
    let names = code.split(".metric(").skip(1).map(|call| call.split('"').nth(1).unwrap());
    // What OpenMetrics adds to the name of a counter, and of a histogram.
    let ends = ["", "_total", "_bucket"];
    let exported: BTreeSet<String> =
        names.flat_map(|name| ends.map(|end| format!("flatnet_agent_{name}{end}"))).collect();
    let asked: BTreeSet<String> =
        asked().iter().chain(&conditions()).flat_map(|expr| named(expr)).collect();
    assert!(asked.contains("flatnet_agent_nodes") && asked.len() > 10, "{asked:?}");
    let unknown: Vec<&String> = asked.difference(&exported).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {exported:?}");
}

/// What scrapes, what is scraped and who asks have the same names.
#[test]
fn agents_are_known_by_the_labels_that_scraping_gives_them() {
    let job = &yaml("scrape.yaml")[0];
    let own = format!("job=\"{}\"", job["job_name"].as_str().unwrap());
    let by_job: Vec<String> = asked().into_iter().chain(conditions()).collect();
    let by_job: Vec<&String> = by_job.iter().filter(|expr| expr.contains("job=")).collect();
    assert!(by_job.len() > 1 && by_job.iter().all(|expr| expr.contains(&own)), "{by_job:?}");
    for label in ["node", "daemonset"] {
        let relabels = |relabel: &Value| relabel["target_label"] == label;
        assert!(job["relabel_configs"].as_array().unwrap().iter().any(relabels), "{label}");
    }
    let [selectors] = &job["kubernetes_sd_configs"][0]["selectors"].as_array().unwrap()[..] else {
        panic!("{job}");
    };
    let (label, value) = selectors["label"].as_str().unwrap().split_once('=').unwrap();

    // With the component, all networks; without it, none.
    let all = ["base", "overlays/second-network"]
        .map(|name| format!("../../packaging/kubernetes/{name}"));
    let metrics = ["../../packaging/kubernetes/components/metrics".to_owned()];
    for (components, listen) in [(&metrics[..], "[::]"), (&[], "127.0.0.1")] {
        let daemon_sets = daemon_sets(&all, components);
        assert_eq!(daemon_sets.len(), all.len());
        for daemon_set in daemon_sets {
            let template = &daemon_set["spec"]["template"];
            assert_eq!(template["metadata"]["labels"][label], value, "{template}");
            let container = &template["spec"]["containers"][0];
            let port = &container["ports"][0];
            let found = job["relabel_configs"][0]["regex"] == port["name"];
            assert_eq!(found, !components.is_empty(), "{port}");
            let port = &port["containerPort"];
            let variable = json!({ "name": "LISTEN", "value": listen });
            assert!(container["env"].as_array().unwrap().contains(&variable), "{container}");
            let arguments = container["args"].as_array().unwrap().iter();
            let listens: Vec<_> =
                arguments.filter(|arg| arg.as_str().unwrap().starts_with("--listen")).collect();
            assert_eq!(listens, [&json!(format!("--listen=$(LISTEN):{port}"))]);
            for probe in ["readinessProbe", "livenessProbe"] {
                assert_eq!(&container[probe]["httpGet"]["port"], port);
            }
        }
    }
}

/// The DaemonSets that kustomize makes of these folders.
fn daemon_sets(resources: &[String], components: &[String]) -> Vec<Value> {
    let place = tempfile::tempdir_in(workspace().join("target")).unwrap();
    let kustomization = json!({ "resources": resources, "components": components });
    fs::write(place.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
    let output = finish(command("kustomize", ["build"]).arg(place.path()), b"");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .filter(|object: &Value| object["kind"] == "DaemonSet")
        .collect()
}
