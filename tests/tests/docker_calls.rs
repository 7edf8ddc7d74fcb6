//! Docker's calls beside what else happens on a node: networks that are out of order.

use std::fs;

use flatnet_tests::cli;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::{Calls, Driver, assert_clean, veths};
use flatnet_tests::kernel;
use serde_json::json;

#[test]
fn another_network_is_in_nobodys_way_and_is_not_brought_up() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let calls = Calls::by(Driver::start(node, &[]));
    let (conf_dir, state_dir) = (cli::conf_dir(node, &[]), &cluster.network.state_dir);
    let sound = cluster.folder().join("sound.json");
    let ranges = json!([{ "name": node.name, "vtep": node.vtep, "ranges": ["10.99.1.0/24"] }]);
    fs::write(&sound, json!({ "version": 1, "vni": 77, "nodes": ranges }).to_string()).unwrap();
    let others = json!([{ "name": "other", "vtep": "192.0.2.9", "ranges": ["10.98.1.0/24"] }]);
    let without = cluster.folder().join("without.json");
    fs::write(&without, json!({ "version": 1, "vni": 78, "nodes": others }).to_string()).unwrap();
    let missing = cluster.folder().join("missing.json");
    for (name, file) in [("missing", &missing), ("without", &without), ("sound", &sound)] {
        let plugin = json!({ "type": "flatnet", "rangeFile": file, "stateDir": state_dir });
        let list = json!({ "cniVersion": "1.0.0", "name": name, "plugins": [plugin] });
        // By its name before that of the network that is used.
        fs::write(conf_dir.join(format!("05-{name}.conflist")), list.to_string()).unwrap();
    }
    // Its books cannot be read.
    fs::create_dir_all(state_dir.join("sound")).unwrap();
    fs::create_dir_all(state_dir.join("sound/n/leases")).unwrap();
    fs::write(state_dir.join("sound/n/addresses"), "").unwrap();

    let address = calls.address().unwrap();
    calls.create(&address).unwrap();
    calls.endpoint("Join", json!({ "SandboxKey": "/nonexistent" })).unwrap();
    assert_eq!((veths(node), node.leases().len()), (2, 1));
    let links = kernel::link_names(&node.netns);
    assert!(links.contains(&node.overlay()), "{links:?}");
    assert!(!links.contains("flat.77"), "nobody uses it: {links:?}");
    calls.delete().unwrap();
    assert_clean(node);
}
