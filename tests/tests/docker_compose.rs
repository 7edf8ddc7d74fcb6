//! docker-compose with our driver: projects in a network that is there, and projects that make one.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::{Docker, assert_clean};
use flatnet_tests::image::IMAGE;
use flatnet_tests::program::said;
use serde_json::{Value, json};

/// A compose file with this document, which is YAML, too. The project is called as its folder.
fn project(folder: &Path, name: &str, document: &Value) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("compose.yaml");
    fs::write(&file, document.to_string()).unwrap();
    file
}

fn compose(docker: &Docker<'_>, project: &Path, args: &[&str]) {
    let output = docker.compose(project, args);
    assert!(output.status.success(), "docker-compose {args:?}: {}", said(&output));
}

/// Two services, of which one has an address of its own.
fn services(address: &str) -> Value {
    json!({
        "web": { "image": IMAGE, "command": "sleep 3600",
                 "networks": { "pods": { "ipv4_address": address } } },
        "db": { "image": IMAGE, "command": "sleep 3600", "networks": ["pods"] },
    })
}

#[test]
fn a_project_is_in_a_network_that_is_there() {
    let cluster = Cluster::new(2);
    let dockers = Docker::everywhere(&cluster, &[]);
    cluster.begin_with_the_first();
    let networks = json!({ "pods": { "external": true } });
    let files = [0, 1].map(|n| {
        let services = services(&format!("10.244.{}.50", n + 1));
        let document = json!({ "version": "3.7", "services": services, "networks": networks });
        project(dockers[n].folder(), "shop", &document)
    });
    for (docker, file) in dockers.iter().zip(&files) {
        compose(docker, file, &["up", "--detach"]);
    }
    let other = IpAddr::from([10, 244, 2, 50]);
    assert_eq!(dockers[1].addresses("shop_web_1", "pods")[0], other);
    for name in ["shop_web_1", "shop_db_1"] {
        dockers[0].ping(name, other);
    }
    // By its name, on the same machine.
    compose(&dockers[0], &files[0], &["exec", "-T", "db", "ping", "-c", "1", "-W", "5", "web"]);
    compose(&dockers[0], &files[0], &["up", "--detach", "--scale", "db=3"]);
    dockers[0].ping("shop_db_3", other);
    compose(&dockers[0], &files[0], &["restart", "--timeout", "0"]);
    assert_eq!(cluster.nodes[0].leases().len(), 4);
    dockers[0].ping("shop_web_1", other);
    for (docker, file) in dockers.iter().zip(&files) {
        compose(docker, file, &["down", "--timeout", "0"]);
        assert!(docker.ok(&["network", "ls"]).contains("pods"), "the network is not the project's");
    }
    cluster.nodes.iter().for_each(assert_clean);
}

#[test]
fn a_project_makes_its_network() {
    let cluster = Cluster::new(2);
    let dockers = Docker::everywhere(&cluster, &[]);
    let (docker, node) = (&dockers[0], &cluster.nodes[0]);
    node.begin_with_the_first("pods");
    let driver = &docker.driver.name;
    let ipam = json!({ "driver": driver, "config": [
        { "subnet": "10.244.0.0/16" }, { "subnet": "fd00:10:244::/56" } ] });
    let networks = json!({ "pods": { "driver": driver, "enable_ipv6": true, "ipam": ipam } });
    let document =
        json!({ "version": "2.4", "services": services("10.244.1.60"), "networks": networks });
    let file = project(docker.folder(), "shop", &document);
    compose(docker, &file, &["up", "--detach"]);
    let addresses = docker.addresses("shop_web_1", "shop_pods");
    assert_eq!((addresses.len(), addresses[0]), (2, IpAddr::from([10, 244, 1, 60])));
    dockers[1].idle("web", &["--network", "pods"]);
    for to in dockers[1].addresses("web", "pods") {
        docker.ping("shop_web_1", to);
    }
    addresses.into_iter().for_each(|to| dockers[1].ping("web", to));
    compose(docker, &file, &["down", "--timeout", "0"]);
    assert!(!docker.ok(&["network", "ls"]).contains("shop_pods"));
    assert_clean(node);
}
