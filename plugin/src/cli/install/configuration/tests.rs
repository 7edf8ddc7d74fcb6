use std::fs;

use super::*;

/// A folder of configurations with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const OURS: &str =
    r#"{"name":"pods","plugins":[{"type":"flatnet","rangeFile":"/nonexistent/r.json"}]}"#;
const FOREIGN: &str = r#"{"name":"pods","plugins":[{"type":"bridge"}]}"#;

fn ours() -> Configuration {
    Configuration::parse(Path::new("10-pods.conflist"), OURS.into()).unwrap()
}

#[test]
fn the_default_is_a_network() {
    let none = Path::new("/nonexistent/net.d");
    let chosen = Configuration::choose(None, none).unwrap();
    assert_eq!((chosen.file.as_str(), chosen.network.as_str()), ("10-pods.conflist", "pods"));
    chosen.judge(none, false).unwrap();
}

#[test]
fn a_network_that_is_there_is_kept() {
    let text = OURS.replace("pods", "other");
    let folder = folder(&[("05-x.conf", "{"), ("20-other.conflist", &text)]);
    let chosen = Configuration::choose(None, folder.path()).unwrap();
    assert_eq!((chosen.file.as_str(), chosen.network.as_str()), ("20-other.conflist", "other"));
    chosen.judge(folder.path(), false).unwrap();
}

#[test]
fn only_a_list_with_flatnet_is_taken() {
    let single = r#"{"name":"pods","type":"flatnet","rangeFile":"/r.json"}"#;
    for (name, text, problem) in [
        ("pods.json", OURS, "must end in .conflist"),
        ("pods.conflist", FOREIGN, "none of its plugins is flatnet"),
        ("pods.conflist", single, "has no list `plugins`"),
        ("pods.conflist", "{", "pods.conflist"),
    ] {
        let folder = folder(&[(name, text)]);
        let given = folder.path().join(name);
        let error = Configuration::choose(Some(&given), folder.path()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn anothers_file_is_replaced_only_if_told() {
    for (text, refused) in [(OURS, false), (FOREIGN, true), ("{", true)] {
        let folder = folder(&[("10-pods.conflist", text)]);
        let judged = ours().judge(folder.path(), false).map_err(|error| error.to_string());
        assert_eq!(judged.is_err(), refused, "{text}: {judged:?}");
        if let Err(error) = judged {
            assert!(error.contains("10-pods.conflist is not network pods of flatnet"), "{error}");
        }
        ours().judge(folder.path(), true).unwrap();
    }
}

#[test]
fn a_network_has_its_name_alone() {
    let folder = folder(&[("87-podman.conflist", FOREIGN)]);
    for overwrite in [false, true] {
        let error = ours().judge(folder.path(), overwrite).unwrap_err().to_string();
        assert!(error.contains("87-podman.conflist has a network pods already"), "{error}");
    }
}

#[test]
fn what_is_missing_is_noted() {
    let other = FOREIGN.replace("pods", "b");
    let folder = folder(&[("05-b.conflist", &other), ("10-pods.conflist", OURS)]);
    let mut configuration = ours();
    configuration.plugins.push("portmap".into());
    let notes = configuration.notes(folder.path(), folder.path()).unwrap();
    let path = folder.path().display();
    let expected = [
        format!(
            "{path}/05-b.conflist comes first by name: a runtime that joins pods to one network takes that"
        ),
        format!("plugin portmap of the configuration is not in {path}"),
    ];
    assert_eq!(notes, expected);
    fs::write(folder.path().join("portmap"), "").unwrap();
    fs::remove_file(folder.path().join("05-b.conflist")).unwrap();
    assert_eq!(configuration.notes(folder.path(), folder.path()).unwrap(), Vec::<String>::new());
}
