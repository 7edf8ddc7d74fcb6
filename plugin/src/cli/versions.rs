//! Whether every plugin of a chain speaks the version of the protocol that the configuration asks for.
//! Debian's portmap does not know 1.1.0: under that it refuses every ADD, and answers a runtime's STATUS
//! with "missing containerID", so that a Kubernetes node never gets ready.

use std::path::{Path, PathBuf};

use flatnet_conf::Version;
use serde_json::Value;

use super::finding::Finding;
use super::plugins::{find, types};
use super::version;

/// What one executable of a chain answers.
struct Spoken {
    kind: String,
    path: PathBuf,
    /// The versions that it speaks; or why that is not known.
    versions: Result<Vec<String>, String>,
}

/// Asks every plugin of every chain that flatnet is in; these are the configuration files. Those that cannot
/// be used, and plugins that are not there, are other findings.
pub fn check(files: &[(PathBuf, Vec<u8>)], folders: &[PathBuf]) -> Vec<Finding> {
    files.iter().flat_map(|(file, bytes)| of_file(file, bytes, folders)).collect()
}

/// The same of one configuration.
pub fn of_file(file: &Path, bytes: &[u8], folders: &[PathBuf]) -> Vec<Finding> {
    let list: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let there = types(&list).into_iter().filter_map(|kind| {
        let path = find(&kind, folders)?;
        let versions = version::spoken(&path);
        Some(Spoken { kind, path, versions })
    });
    let spoken: Vec<Spoken> = there.collect();
    let wanted = list.get("cniVersion").and_then(Value::as_str).filter(|text| !text.is_empty());
    let wanted = wanted.unwrap_or(Version::V0_1_0.as_str());
    // One that flatnet does not know is wrong itself.
    if Version::parse(wanted).is_ok() { judge(file, wanted, &spoken) } else { Vec::new() }
}

fn judge(file: &Path, wanted: &str, spoken: &[Spoken]) -> Vec<Finding> {
    let file = file.display();
    let common = Version::ALL.iter().rev().map(|version| version.as_str()).find(|version| {
        let known = spoken.iter().filter_map(|plugin| plugin.versions.as_ref().ok());
        known.into_iter().all(|versions| versions.iter().any(|spoken| spoken == version))
    });
    let findings = spoken.iter().filter_map(|Spoken { kind, path, versions }| {
        let path = path.display();
        let of = format!("the plugin {kind:?} ({path})");
        match versions {
            Ok(versions) if versions.iter().any(|version| version == wanted) => None,
            Ok(versions) => {
                let newest = versions.last().map(|newest| format!(" (but {newest})"));
                let lower = common
                    .map(|common| format!("set \"cniVersion\": \"{common}\" in {file}, or "))
                    .unwrap_or_default();
                Some(Finding::advise(
                    format!(
                        "{of} does not speak CNI {wanted}{}, which {file} asks for",
                        newest.unwrap_or_default()
                    ),
                    "a runtime calls every plugin of a chain in that version: no pod can be attached, \
                     and a Kubernetes node may not get ready",
                    format!("{lower}install a {kind} that speaks {wanted}"),
                ))
            }
            Err(why) => Some(Finding::advise(
                format!("{of} does not say which versions of CNI it speaks: {why}"),
                "a runtime calls every plugin of a chain: no pod can be attached",
                format!("install {kind} again, or take it out of {file}"),
            )),
        }
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Mend;

    fn spoken(kind: &str, versions: Result<&[&str], &str>) -> Spoken {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let versions = versions.map(owned).map_err(str::to_owned);
        Spoken { kind: kind.into(), path: Path::new("/cni").join(kind), versions }
    }

    #[test]
    fn the_newest_version_of_all_is_what_mends() {
        let all = ["0.4.0", "1.0.0", "1.1.0"];
        let plugins = [
            spoken("flatnet", Ok(&all)),
            spoken("portmap", Ok(&all[..2])),
            spoken("tuning", Ok(&all[..1])),
        ];
        let file = Path::new("/c");
        assert_eq!(judge(file, "0.4.0", &plugins), []);
        let found = judge(file, "1.1.0", &plugins);
        let what: Vec<_> = found.iter().map(|finding| &finding.what[..]).collect();
        assert_eq!(
            what,
            [
                "the plugin \"portmap\" (/cni/portmap) does not speak CNI 1.1.0 (but 1.0.0), which /c \
                 asks for",
                "the plugin \"tuning\" (/cni/tuning) does not speak CNI 1.1.0 (but 0.4.0), which /c \
                 asks for"
            ]
        );
        let mend = "set \"cniVersion\": \"0.4.0\" in /c, or install a portmap that speaks 1.1.0";
        assert_eq!(found[0].mend, Mend::Do(mend.into()));
    }

    #[test]
    fn one_that_does_not_answer_is_named() {
        let found = judge(Path::new("/c"), "1.0.0", &[spoken("x", Err("it hangs"))]);
        assert_eq!(
            found[0].what,
            "the plugin \"x\" (/cni/x) does not say which versions of CNI it speaks: it hangs"
        );
        assert_eq!(found[0].mend, Mend::Do("install x again, or take it out of /c".into()));
    }
}
