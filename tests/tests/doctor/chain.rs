//! Plugins of a chain that do not speak the configuration's version of CNI, or nothing at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use flatnet_tests::cli::document;
use flatnet_tests::program::{executable, finish, ours, reference_plugins};
use serde_json::{Value, json};

use super::scene::Scene;

/// A chain with portmap behind flatnet.
fn chain(scene: &Scene, version: &str) {
    let plugin = &scene.cluster.network.configuration;
    let list = json!({
        "cniVersion": version, "name": "pods", "plugins": [plugin, { "type": "portmap" }],
    });
    fs::write(scene.conf(), list.to_string()).unwrap();
}

fn portmap(scene: &Scene, script: &str) {
    let path = scene.bin().join("portmap");
    let _ = fs::remove_file(&path);
    executable(&path, format!("#!/bin/sh\n{script}\n"));
}

/// What an installation of this configuration finds missing.
fn missing(scene: &Scene) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(ours("flatnet"));
    command.env_remove("CNI_COMMAND").args(["install", "--json", "--conf"]).arg(scene.conf());
    command.arg("--cni-bin-dir").arg(scene.bin()).arg("--conf-dir").arg(root.path());
    let output = scene.node().netns.run(|| finish(&mut command, b""));
    let code = output.status.code().unwrap();
    let document: Value = document(&output, code);
    let missing = document["missing"].as_array().unwrap();
    assert_eq!(code, i32::from(!missing.is_empty()), "{document:#}");
    missing.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_that_does_not_know_the_version_is_named() {
    let scene = Scene::new();
    symlink(reference_plugins().join("portmap"), scene.bin().join("portmap")).unwrap();
    chain(&scene, "1.1.0");
    let words =
        ["the plugin \"portmap\" (", ") does not speak CNI 1.1.0 (but 1.0.0)", "10-pods.conflist"];
    let mend = scene.finding(&words);
    assert!(mend.starts_with("set \"cniVersion\": \"1.0.0\" in "), "{mend}");
    let told = missing(&scene);
    assert!(told.len() == 1 && told[0].contains(words[1]), "{told:?}");
    assert!(told[0].contains("; set \"cniVersion\": \"1.0.0\" in "), "{told:?}");

    chain(&scene, "1.0.0");
    scene.assert_healthy();
    assert_eq!(missing(&scene), [""; 0]);
}

#[test]
fn one_that_hangs_or_says_nothing_is_named_in_time() {
    let scene = Scene::new();
    chain(&scene, "1.0.0");
    for (script, words) in [
        ("exec sleep 600", "it does not answer within 2s"),
        ("exec yes", "it says more than 65536 bytes"),
        ("exit 3", "it answers VERSION with no list of versions"),
        (r#"printf '{"code":7,"msg":"\\u001b[31mred"}'; exit 1"#, "\\u{1b}[31mred"),
    ] {
        portmap(&scene, script);
        let begun = Instant::now();
        let mend = scene.finding(&["the plugin \"portmap\" (", words]);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(mend.contains("install portmap again"), "{mend}");
    }
    portmap(&scene, r#"echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'"#);
    scene.assert_healthy();
}
