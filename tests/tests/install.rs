//! `flatnet install`: the executables and a configuration come into place at once, nobody else's
//! file is lost, and a runtime that watches the folder takes up the network.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::cri::PodSpec;
use flatnet_tests::image::archive;
use flatnet_tests::program::{finish, ours, said};
use flatnet_tests::snapshot;
use flatnet_tests::wait::wait_for;
use serde_json::{Value, json};

/// `flatnet install` into `ROOT/bin` and `ROOT/net.d`.
fn install(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(ours("flatnet"));
    command.env_remove("CNI_COMMAND").arg("install");
    command.arg("--cni-bin-dir").arg(root.join("bin")).arg("--conf-dir").arg(root.join("net.d"));
    finish(command.args(more), b"")
}

/// The document of one that must succeed.
fn report(root: &Path, more: &[&str]) -> Value {
    let output = install(root, &[&["--json"], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn actions(report: &Value) -> [&str; 3] {
    [&report["executables"][0], &report["executables"][1], &report["configuration"]]
        .map(|file| file["action"].as_str().unwrap())
}

/// Every file below a folder, hidden ones too.
fn inodes(root: &Path) -> BTreeMap<PathBuf, u64> {
    let files = snapshot::folder(root).into_keys();
    files.map(|path| (path.clone(), fs::metadata(path).unwrap().ino())).collect()
}

#[test]
fn everything_comes_into_place_and_stays() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let first = report(root, &[]);
    assert_eq!(actions(&first), ["installed"; 3]);
    assert_eq!(first["network"], "pods");
    let missing = [
        format!("plugin portmap of the configuration is not in {}", root.join("bin").display()),
        "range file /etc/flatnet/pods.json is not there: see `flatnet ranges init --help`".into(),
    ];
    assert_eq!(first["notes"], json!(missing));
    for name in ["flatnet", "flatnet-ipam"] {
        let path = root.join("bin").join(name);
        assert_eq!(fs::read(&path).unwrap(), fs::read(ours(name)).unwrap(), "{name}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    }
    let list = root.join("net.d/10-pods.conflist");
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o7777, 0o600);

    // A second time nothing is touched, not even by a rename.
    let before = inodes(root);
    assert_eq!(actions(&report(root, &[])), ["unchanged"; 3]);
    assert_eq!(inodes(root), before);

    // An older plugin and a configuration of ours with other content are replaced.
    fs::write(root.join("bin/flatnet"), "old").unwrap();
    let conf = root.join("10-pods.conflist");
    fs::write(&conf, fs::read_to_string(&list).unwrap().replace("true", "false")).unwrap();
    let conf = conf.to_str().unwrap();
    assert_eq!(actions(&report(root, &["--conf", conf])), ["replaced", "unchanged", "replaced"]);
    assert_eq!(fs::read(&list).unwrap(), fs::read(conf).unwrap());

    let output = install(root, &["--conf", conf]);
    let text = String::from_utf8(output.stdout).unwrap();
    let last = format!("{}: unchanged; network pods\n", list.display());
    assert!(text.contains(&last), "{text}");
}

#[test]
fn the_configuration_of_somebody_else_stays_unless_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let foreign = r#"{"cniVersion":"1.0.0","name":"theirs","plugins":[{"type":"bridge"}]}"#;
    let list = root.join("net.d/10-pods.conflist");
    fs::create_dir(root.join("net.d")).unwrap();
    fs::write(&list, foreign).unwrap();
    let output = install(root, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("10-pods.conflist is not network pods of flatnet"), "{words}");
    assert_eq!(fs::read_to_string(&list).unwrap(), foreign);
    assert!(!root.join("bin").exists(), "nothing is done by halves");

    assert_eq!(actions(&report(root, &["--overwrite"]))[2], "replaced");
    assert!(fs::read_to_string(&list).unwrap().contains("flatnet"));
}

#[test]
fn containerd_takes_up_the_network_without_a_restart() {
    let cluster = Cluster::new(1);
    let image = archive(cluster.folder());
    let containerd = Containerd::start(&cluster, &cluster.nodes[0], &[], &image);
    let folder = containerd.folder();
    let list = folder.join("net.d/10-pods.conflist");
    let conf = cluster.folder().join("10-pods.conflist");
    fs::copy(&list, &conf).unwrap();
    fs::remove_file(&list).unwrap();
    fs::remove_file(folder.join("bin/flatnet")).unwrap();
    let ready = || containerd.cri.is_ready(false);
    wait_for("a containerd without a network", || (!ready()).then_some(()));

    let report = report(folder, &["--conf", conf.to_str().unwrap()]);
    assert_eq!(actions(&report), ["installed"; 3]);
    wait_for("a containerd with the network", || ready().then_some(()));
    let pod = containerd.cri.run_pod(&PodSpec::new("web")).unwrap();
    assert!(!containerd.cri.addresses(&pod).is_empty());
    containerd.cri.stop_pod(&pod).unwrap();
    containerd.cri.remove_pod(&pod).unwrap();
    cluster.nodes[0].assert_no_attachment();
}
