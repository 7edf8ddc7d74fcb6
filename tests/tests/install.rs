//! `flatnet install`: the executables and a configuration come into place at once, the configuration
//! behind the overlay, no other program's file is lost, a runtime that watches the folder takes up the
//! network, and the service keeps it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flatnet_tests::cli::{conf_dir, document};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::cri::PodSpec;
use flatnet_tests::image::archive;
use flatnet_tests::program::{finish, ours, said};
use flatnet_tests::scene::Scene;
use flatnet_tests::wait::wait_for;
use flatnet_tests::{kernel, snapshot, sync};
use serde_json::{Value, json};

/// `flatnet install` into `ROOT/bin` and `ROOT/net.d`.
fn install(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(ours("flatnet"));
    command.env_remove("CNI_COMMAND").arg("install");
    command.arg("--cni-bin-dir").arg(root.join("bin")).arg("--conf-dir").arg(root.join("net.d"));
    finish(command.args(more), b"")
}

/// The document of one on a machine that no range file lists so far: everything is in its place, and
/// what is missing is a finding.
fn report(root: &Path, more: &[&str]) -> Value {
    document(&install(root, &[&["--json"], more].concat()), 1)
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
    let (bin, net) = (root.join("bin"), root.join("net.d"));
    let notes = [
        format!("plugin portmap of the configuration is not in {}", bin.display()),
        format!(
            "what keeps the network is `{}/flatnet sync --watch --conf-dir {}`: have your supervisor \
             run it, also at boot",
            bin.display(),
            net.display()
        ),
    ];
    assert_eq!((&first["notes"], &first["service"]), (&json!(notes), &Value::Null));
    let missing = "range file /etc/flatnet/pods.json is not there: see `flatnet ranges init --help`, \
                   then do this again";
    assert_eq!((&first["missing"], &first["overlays"]), (&json!([missing]), &json!([])));
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
fn the_configuration_of_another_program_stays_unless_told() {
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
fn podman_gets_a_driver_of_the_executable_in_place() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let option = format!("--podman={}", root.join("netavark").display());
    let first = report(root, &[&option]);
    let link = root.join("netavark/flatnet");
    assert_eq!(first["drivers"], json!([{ "path": link, "action": "installed" }]));
    assert_eq!(fs::read_link(&link).unwrap(), root.join("bin/flatnet"));
    let notes = first["notes"].to_string();
    assert!(notes.contains("`podman network create -d flatnet pods`"), "{notes}");
    assert_eq!(report(root, &[&option])["drivers"][0]["action"], "unchanged");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "another's").unwrap();
    assert_eq!(report(root, &[&option])["drivers"][0]["action"], "replaced");
    // As netavark calls it.
    let output = finish(Command::new(&link).arg("info").env_remove("CNI_COMMAND"), b"");
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["api_version"], "1.0.0", "{}", said(&output));
    assert_eq!(report(root, &[])["drivers"], json!([]));
}

#[test]
fn docker_gets_a_driver_beside_the_plugin() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let first = report(root, &["--docker"]);
    let driver = root.join("bin/flatnet-docker");
    assert_eq!(first["executables"][2], json!({ "path": driver, "action": "installed" }));
    assert_eq!(fs::read(&driver).unwrap(), fs::read(ours("flatnet-docker")).unwrap());
    let notes = first["notes"].to_string();
    let serves = format!("{} --conf-dir {}", driver.display(), root.join("net.d").display());
    assert!(notes.contains(&format!("what serves Docker is `{serves}`")), "{notes}");
    assert!(
        notes.contains("-d flatnet --ipam-driver flatnet --subnet CLUSTER-CIDR pods"),
        "{notes}"
    );
    assert_eq!(report(root, &["--docker"])["executables"][2]["action"], "unchanged");
    assert_eq!(report(root, &[])["executables"].as_array().map(Vec::len), Some(2));
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

    let installed = cluster.nodes[0]
        .netns
        .run(|| install(folder, &["--json", "--conf", conf.to_str().unwrap()]));
    let report = document(&installed, 0);
    assert_eq!(report["missing"], json!([]));
    assert_eq!(actions(&report), ["installed"; 3]);
    wait_for("a containerd with the network", || ready().then_some(()));
    let pod = containerd.cri.run_pod(&PodSpec::new("web")).unwrap();
    assert!(!containerd.cri.addresses(&pod).is_empty());
    containerd.cri.stop_pod(&pod).unwrap();
    containerd.cri.remove_pod(&pod).unwrap();
    cluster.nodes[0].assert_no_attachment();
}

#[test]
fn the_configuration_comes_behind_the_overlay() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let root = cluster.folder();
    let conf = conf_dir(node, &[]).join("10-pods.conflist");
    let install = |more: &[&str]| {
        let more = [&["--json", "--conf", conf.to_str().unwrap()], more].concat();
        node.netns.run(|| install(root, &more))
    };
    let list = root.join("net.d/10-pods.conflist");
    let good = fs::read(&cluster.network.range_file).unwrap();
    let refused = |words: &str| {
        let output = install(&[]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("network pods cannot be brought up: "), "{error}");
        assert!(error.contains("10-pods.conflist ") && error.contains(words), "{error}");
    };
    // A range file that is wrong, and a kernel that refuses.
    fs::write(&cluster.network.range_file, "{").unwrap();
    refused("was not put in place");
    fs::write(&cluster.network.range_file, &good).unwrap();
    node.netns.exec("ip link add flat.4096 type bridge");
    refused("was not put in place");
    assert!(!list.exists());
    node.netns.exec("ip link del flat.4096");

    // A node that the file does not list is told so; the rest is done.
    cluster.list(&[1]);
    let unlisted = document(&install(&[]), 1);
    assert_eq!(actions(&unlisted)[2], "installed");
    let missing = unlisted["missing"][0].as_str().unwrap();
    assert!(missing.contains("no node's vtep is an address of this machine"), "{missing}");
    assert!(missing.ends_with("; then do this again"), "{missing}");
    assert_eq!(kernel::link(&node.netns, "flat.4096"), None);

    cluster.list(&[0, 1]);
    let whole = document(&install(&[]), 0);
    assert_eq!((actions(&whole)[2], &whole["missing"]), ("unchanged", &json!([])));
    assert!(whole["overlays"][0].as_str().unwrap().starts_with("pods on node-a: "), "{whole}");
    assert_eq!(sync::plan(node), Vec::<String>::new());
    assert_eq!(document(&install(&[]), 0)["overlays"], json!(["pods on node-a: in sync"]));

    // What stands stays, whatever cannot be applied now.
    let before = (snapshot::namespace(&node.netns), fs::read(&list).unwrap());
    fs::write(&conf, fs::read_to_string(&conf).unwrap().replace('}', " }")).unwrap();
    fs::write(&cluster.network.range_file, "{").unwrap();
    refused("stays as it is");
    assert_eq!((snapshot::namespace(&node.netns), fs::read(&list).unwrap()), before);
}

/// A machine that systemd runs, as far as an installation sees: `flatnet` is called below a process 1 in
/// its own network namespace, and `systemctl` writes down what it is told.
const SYSTEMD: &str = r#"
mkdir -p bin /run/systemd/system /etc/systemd/system
cat >bin/systemctl <<'END'
#!/bin/sh
echo "$*" >>/mnt/called
test ! -e /mnt/broken || { echo "it is broken" >&2; exit 3; }
END
chmod +x bin/systemctl
PATH=$PWD/bin:$PATH
install() {
    : >called
    unshare --pid --fork --mount-proc flatnet install >said
}
called() { diff <(printf '%s\n' "$@") called; }
flatnet ranges init --cluster-cidr 10.244.0.0/16 --node node-a=192.168.50.1 --node node-b=192.168.50.2 \
    --output pods.json
mkdir -p /etc/flatnet
mv pods.json /etc/flatnet
UNIT=/etc/systemd/system/flatnet-sync.service
"#;

#[test]
fn the_service_is_part_of_an_installation() {
    let mut scene = Scene::new();
    let mut on_node = |commands: &str| {
        scene
            .run(Some("node-a"), commands)
            .unwrap_or_else(|said| panic!("{said}\nin:\n{commands}"));
    };
    on_node(SYSTEMD);
    on_node(
        "install
         ip link show flat.4096
         called daemon-reload '--quiet enable flatnet-sync.service' 'start flatnet-sync.service'
         grep -x \"$UNIT: installed; enabled and running\" said
         grep -q '^# Written by .flatnet install.' $UNIT
         grep -x 'ExecStart=/opt/cni/bin/flatnet sync --watch' $UNIT
         grep -x WantedBy=multi-user.target $UNIT",
    );
    // Again; with an older executable, which the running service must not go on with; and an older unit.
    on_node(
        "install
         called daemon-reload '--quiet enable flatnet-sync.service' 'start flatnet-sync.service'
         echo old >/opt/cni/bin/flatnet.new
         mv /opt/cni/bin/flatnet.new /opt/cni/bin/flatnet
         install
         called daemon-reload '--quiet enable flatnet-sync.service' 'restart flatnet-sync.service'
         sed -i '1!d' $UNIT
         install
         called daemon-reload '--quiet enable flatnet-sync.service' 'restart flatnet-sync.service'
         grep -x \"$UNIT: replaced; enabled and running\" said
         grep -x 'ExecStart=/opt/cni/bin/flatnet sync --watch' $UNIT",
    );
    // The unit of an administrator, and that of the package, are used as they are.
    on_node(
        "for theirs in $UNIT /usr/lib/systemd/system/flatnet-sync.service; do
             rm $UNIT
             mkdir -p $(dirname $theirs)
             echo theirs >$theirs
             install
             called daemon-reload '--quiet enable flatnet-sync.service' 'start flatnet-sync.service'
             grep -x \"$theirs: unchanged; enabled and running\" said
             test $(cat $theirs) = theirs
             test $theirs = $UNIT || test ! -e $UNIT
         done",
    );
    // A service that does not start is a finding; the network stands.
    on_node(
        "touch broken
         if install; then false; else test $? = 1; fi
         grep 'missing: nothing keeps the network: .systemctl daemon-reload.: .*, it is broken' said
         ip link show flat.4096",
    );
    // Services of a systemd that runs in another network namespace are not this node's.
    on_node(
        "rm broken called
         flatnet install >said
         test ! -e called
         grep 'note: what keeps the network is ./opt/cni/bin/flatnet sync --watch.: ' said",
    );
}
