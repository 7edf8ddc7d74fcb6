//! Files in the folder of configurations that cannot be used, of others and of ours.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::program::said;
use flatnet_tests::wait::wait_for;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::scene::Scene;

/// A name, how it is made, and what is said of it.
type Broken = (&'static str, fn(&Path), &'static str);

/// Files that no command can use.
const BROKEN: [Broken; 7] = [
    ("folder", |path| fs::create_dir(path).unwrap(), "Is a directory"),
    ("link", |path| symlink("/nonexistent", path).unwrap(), "No such file"),
    ("loop", |path| symlink(path, path).unwrap(), "ymbolic link"),
    ("fifo", |path| mkfifo(path, Mode::S_IRWXU).unwrap(), "it is not a regular file"),
    (
        "comma",
        |path| fs::write(path, r#"{"plugins":[{"type":"bridge"},]}"#).unwrap(),
        "trailing comma",
    ),
    ("binary", |path| fs::write(path, b"\x7fELF\x02\x01\x01\0\0\0").unwrap(), "it is not a text"),
    ("empty", |path| fs::write(path, "").unwrap(), "EOF while parsing"),
];

#[test]
fn another_programs_file_stops_nothing_of_ours() {
    let scene = Scene::new();
    scene.assert_healthy();
    let route = || {
        let mut routes = kernel::routes(&scene.node().netns).into_iter();
        routes.any(|route| route.dst == "10.244.2.0/24")
    };
    for (name, make, words) in BROKEN {
        let file = scene.net_d().join(format!("05-{name}.conflist"));
        make(&file);
        let path = file.display().to_string();
        scene.node().netns.exec("ip route del 10.244.2.0/24");
        for (command, code) in [("status", 1), ("sync", 0), ("status", 0), ("list", 0)] {
            let output = scene.flatnet(command, &[]);
            assert_eq!(output.status.code(), Some(code), "{name}, {command}: {}", said(&output));
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains(&path) && told.contains(words), "{name}, {command}: {told}");
            assert!(told.contains("move it out of the folder"), "{told}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("node-a") || text.contains("eth0"), "{name}, {command}: {text}");
        }
        assert!(route(), "{name}");
        let mend = scene.finding(&[&path, words]);
        assert!(mend.contains("move it out of the folder"), "{mend}");
        match file.is_dir() {
            true => fs::remove_dir(&file).unwrap(),
            false => fs::remove_file(&file).unwrap(),
        }
        scene.assert_healthy();
    }
    // What can be read and is not flatnet's is of no concern here, whatever is in it.
    let other = r#"{"cniVersion":"9","name":"other","plugins":[{"type":"bridge","mtuu":1}]}"#;
    fs::write(scene.net_d().join("05-other.conflist"), other).unwrap();
    assert_eq!(said(&scene.flatnet("status", &[])).matches("05-other").count(), 0);
    scene.assert_healthy();
}

#[test]
fn a_file_of_ours_that_is_wrong_fails_the_command_and_not_the_other_networks() {
    let scene = Scene::new();
    let plugin = scene.cluster.network.configuration.clone();
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let mut second = plugin.clone();
    second["name"] = json!("second");
    let text = second.to_string();
    let mut unknown = second.clone();
    unknown["cniVersion"] = json!("1.0");
    let cases = [
        ("bom", format!("\u{feff}{text}").into_bytes(), "byte-order mark", "save it as UTF-8"),
        ("utf16", utf16(&text), "it is UTF-16", "iconv -f UTF-16"),
        ("version", unknown.to_string().into_bytes(), "cniVersion \"1.0\"", "supported are 0.1.0"),
        (
            "key",
            text.replace("rangeFile", "rangesFile").into_bytes(),
            "rangeFile: is missing",
            "\"rangesFile\"",
        ),
        (
            "cut",
            text.as_bytes()[..text.len() - 1].to_vec(),
            "not valid JSON: EOF",
            "correct the file",
        ),
    ];
    for (name, bytes, words, mend) in cases {
        let file = scene.net_d().join(format!("05-{name}.conf"));
        fs::write(&file, bytes).unwrap();
        let path = file.display().to_string();
        scene.node().netns.exec("ip route del 10.244.2.0/24");
        for command in ["sync", "status", "list"] {
            let output = scene.flatnet(command, &[]);
            assert_eq!(output.status.code(), Some(2), "{name}, {command}: {}", said(&output));
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains(&path) && told.contains(words), "{name}: {told}");
        }
        let routes = kernel::routes(&scene.node().netns);
        assert!(routes.iter().any(|route| route.dst == "10.244.2.0/24"), "{name}: {routes:?}");
        let told = scene.finding(&[&path, words]);
        assert!(told.contains(mend), "{name}: {told}");
        fs::remove_file(&file).unwrap();
        scene.assert_healthy();
    }
}

#[test]
fn a_range_file_in_another_encoding_is_told_as_such_by_every_call() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let path = &cluster.network.range_file;
    let whole = fs::read_to_string(path).unwrap();
    let utf16: Vec<u8> =
        format!("\u{feff}{whole}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let pod = flatnet_tests::node::Pod::new("pod");
    let spoilt = whole.replace("\"vtep\"", "\"vtpe\"");
    for (bytes, words) in [
        (
            format!("\u{feff}{whole}").into_bytes(),
            "pods.json: not valid JSON: it begins with a byte-order mark",
        ),
        (utf16, "pods.json: not valid JSON: it is UTF-16; save it as UTF-8"),
        (spoilt.into_bytes(), "did you mean vtep?"),
    ] {
        fs::write(path, bytes).unwrap();
        for call in [node.call_for("ADD", &pod), node.call("STATUS")] {
            let error = call.run().error();
            assert!(error.msg.contains(words), "{words}: {error:?}");
        }
    }
    fs::write(path, &whole).unwrap();
    node.call("STATUS").run().silent();
}

#[test]
fn a_key_that_is_nearly_one_of_ours_is_found() {
    let scene = Scene::new();
    let mut plugin = scene.cluster.network.configuration.clone();
    for (key, meant) in [("ip_masq", "ipMasq"), ("logLevl", "logLevel"), ("mtuu", "mtu")] {
        plugin[key] = json!("x");
        scene.configure(&plugin);
        // The protocol wants it tolerated.
        scene.node().add("tolerated");
        let mend = scene.finding(&[&format!("plugins[0].{key} is unknown; did you mean {meant}?")]);
        assert!(mend.contains("10-pods.conflist"), "{mend}");
        plugin.as_object_mut().unwrap().remove(key);
    }
    // The protocol's own, and what was put out of use by hand.
    plugin["capabilities"] = json!({ "ips": true });
    plugin["_mtu"] = json!(1400);
    scene.configure(&plugin);
    scene.assert_healthy();
}

#[test]
fn the_watch_goes_on_beside_a_broken_file() {
    let scene = Scene::new();
    let watcher = flatnet_tests::watcher::Watcher::start(scene.node());
    let net_d = scene.cluster.network.state_dir.with_file_name("node-a.net.d");
    fs::write(net_d.join("05-broken.conflist"), "{").unwrap();
    watcher.says("05-broken.conflist: not valid JSON");
    scene.node().netns.exec("ip route del 10.244.2.0/24");
    wait_for("the route", || {
        let mut routes = kernel::routes(&scene.node().netns).into_iter();
        routes.find(|route| route.dst == "10.244.2.0/24")
    });
}
