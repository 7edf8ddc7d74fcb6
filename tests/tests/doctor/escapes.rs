//! What others have named so that a terminal would obey it.

use flatnet_tests::cli::prepared;
use flatnet_tests::node::Pod;
use flatnet_tests::terminal;

use super::scene::Scene;

/// A colour, a line that looks like another pod's, and the one-character form of what begins a colour.
const NAME: &str = "web\x1b[31mRED\nforged  eth0  10.9.9.9\r\u{9b}31m";

#[test]
fn a_pod_s_name_never_reaches_a_terminal_as_it_is() {
    let scene = Scene::new();
    let node = scene.node();
    let pod = Pod::new("forger");
    let args = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={NAME}");
    node.call_for("ADD", &pod).env("CNI_ARGS", &args).run().result();
    let own = pod.container_id.clone();
    // It has drifted, so that sync, status and doctor name it.
    for lease in node.leases() {
        let veth = lease["veth"].as_str().expect("a veth");
        node.netns.exec(&format!("ip link set {veth} mtu 1400"));
    }
    let folder = scene.net_d().display().to_string();
    let bin = scene.bin().display().to_string();
    for (command, args) in [
        ("list", &[][..]),
        ("trace", &[&*own, "10.244.2.1"]),
        ("status", &[]),
        ("doctor", &["--cni-bin-dir", &bin]),
        ("sync", &["--dry-run"]),
        ("sync", &[]),
    ] {
        let mut prepared = prepared(command, &[args, &["--conf-dir", &folder]].concat());
        prepared.env("TERM", "xterm");
        let output = node.netns.run(|| terminal::run(&mut prepared, 300));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for obeyed in ["\x1b[31mRED", "\nforged", "\r\u{9b}", "\u{9b}"] {
            assert!(!said.contains(obeyed), "{command}: {said:?}");
        }
        let names = said.contains(r"web\u{1b}[31mRED\nforged");
        assert_eq!(names, ["list", "trace"].contains(&command), "{command}: {said:?}");
    }
}
