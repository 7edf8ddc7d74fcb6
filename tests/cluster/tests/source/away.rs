//! An API server that is away for a while, and what it has forgotten when it is back.

use flatnet_agent::source::{Deed, Source as _};
use flatnet_cluster::agent::{self, Agents, blocks};
use flatnet_cluster::cluster::Cluster;
use flatnet_cluster::control_plane::ControlPlane;
use flatnet_cluster::patience::until;
use flatnet_tests::cluster::UNDERLAY;

use super::{has_blocks, put, range};

pub fn an_api_server_goes_and_comes_back(cluster: &mut Cluster) {
    let [config, admin] =
        [agent::kubeconfig(cluster, "n2"), cluster.folder().join("control/admin.conf")];
    let (plane, outside) = (&mut cluster.control, &cluster.underlay.outside);
    outside.run(|| {
        let agents = Agents::default();
        let mut source = agents.source("n2", &config);
        let before = agents.until("first list", &mut source, |source| source.cluster());
        agents.until("own Node", &mut source, |source| source.own());
        plane.kill_api_server();
        // A connection that was broken is told first.
        agents.until("trouble", &mut source, |source| {
            let why = source.trouble()?;
            (why.starts_with("asking the API server https://") && why.contains("refused"))
                .then_some(())
        });
        assert_eq!(blocks(&source.cluster().expect("what was known")), blocks(&before));
        assert!(source.own().is_some());
        let failed =
            agents.carry_out(&mut source, put("192.0.2.3")).expect_err("a server").to_string();
        assert!(failed.starts_with("writing FlatnetNode n2: "), "{failed}");
        plane.start_api_server();
        agents.until("no trouble", &mut source, |source| source.trouble().is_none().then_some(()));
        let mut writer = agents.source("n1", &admin);
        agents.until("own Node", &mut writer, |source| source.own());
        agents.carry_out(&mut writer, Deed::Claim(range("10.53.0.0/24"))).expect("a block");
        agents.until("what is new", &mut source, |source| {
            has_blocks(source, &["10.50.0.0/24 n1", "10.53.0.0/24 n1"])
        });
    });
}

/// A node without its cable for a while, and with an API server that has forgotten what was meanwhile.
pub fn what_changed_behind_its_back_is_seen(cluster: &mut Cluster) {
    let config = agent::kubeconfig(cluster, "n2");
    let (plane, outside) = (&mut cluster.control, &cluster.underlay.outside);
    outside.run(|| {
        let agents = Agents::default();
        let mut source = agents.source("n2", &config);
        agents.until("first list", &mut source, |source| {
            has_blocks(source, &["10.50.0.0/24 n1", "10.53.0.0/24 n1"])
        });
        outside.exec(&format!("ip link set {UNDERLAY} down"));
        plane.kubectl.delete(&["flatnetblock", "10-53-0-0-24"]);
        plane.kill_api_server();
        plane.start_api_server();
        until("watches that begin at a later version", || {
            let uri = "/apis/flatnet.dev/v1alpha1/flatnetblocks?resourceVersion=0";
            plane.kubectl.run(&["get", "--raw", uri])
        });
        let why = agents.until("trouble", &mut source, |source| source.trouble());
        assert!(why.contains("asking the API server"), "{why}");
        has_blocks(&source, &["10.50.0.0/24 n1", "10.53.0.0/24 n1"]).expect("what was known");
        outside.exec(&format!("ip link set {UNDERLAY} up"));
        agents
            .until("what changed", &mut source, |source| has_blocks(source, &["10.50.0.0/24 n1"]));
    });
}

/// The version that etcd has come to, as an API server tells it.
fn version(plane: &ControlPlane) -> u64 {
    let uri = "/apis/flatnet.dev/v1alpha1/flatnetblocks?limit=1";
    let list = until("list", || plane.kubectl.run(&["get", "--raw", uri]));
    let list: serde_json::Value = serde_json::from_str(&list).expect("a list");
    let version = list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    version.unwrap_or_else(|| panic!("no version: {list}"))
}

/// etcd is put back to an older copy while agents run: of one the own block was made since, of the other nothing was.
pub fn a_store_that_was_restored_is_read_again(cluster: &mut Cluster) {
    let [config, admin] =
        [agent::kubeconfig(cluster, "n2"), cluster.folder().join("control/admin.conf")];
    let (plane, outside) = (&mut cluster.control, &cluster.underlay.outside);
    outside.run(|| {
        let agents = Agents::default();
        let mut one = agents.source("n1", &admin);
        let mut other = agents.source("n2", &config);
        agents.until("own Node", &mut one, |source| source.own());
        agents.carry_out(&mut other, put("192.0.2.2")).expect("a FlatnetNode");
        plane.kill_api_server();
        plane.copy_etcd();
        plane.start_api_server();
        for _ in 0..200 {
            agents.carry_out(&mut one, Deed::Claim(range("10.54.0.0/24"))).expect("a block");
            agents.carry_out(&mut one, Deed::Release(range("10.54.0.0/24"))).expect("no block");
        }
        agents.carry_out(&mut one, Deed::Claim(range("10.54.0.0/24"))).expect("a block");
        let known = ["10.50.0.0/24 n1", "10.54.0.0/24 n1"];
        for source in [&mut one, &mut other] {
            agents.until("what was made since", source, |source| has_blocks(source, &known));
            assert!(!source.forgets());
        }
        let before = version(plane);
        plane.kill_api_server();
        plane.restore_etcd();
        plane.start_api_server();
        assert!(version(plane) < before, "there is nothing to notice");
        let left = |source: &_| has_blocks(source, &["10.50.0.0/24 n1"]);
        // It is told with what is left, and for a while.
        agents.until("what is left", &mut one, |source| left(source).filter(|()| source.forgets()));
        agents.until("what is left", &mut other, left);
        agents.carry_out(&mut one, Deed::Claim(range("10.55.0.0/24"))).expect("a block");
        let now = ["10.50.0.0/24 n1", "10.55.0.0/24 n1"];
        for source in [&mut one, &mut other] {
            agents.until("what is new", source, |source| has_blocks(source, &now));
        }
        assert!(version(plane) < before, "it has come as far meanwhile, and would have been heard");
    });
}
