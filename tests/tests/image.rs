//! The image: for both architectures, with nothing but the executables in it, the same bytes each
//! time, and taken by podman and containerd.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::containerd::Containerd;
use flatnet_tests::image::{archive, ours as packed};
use flatnet_tests::podman::Podman;
use flatnet_tests::program::{command, finish, said, succeed, system, workspace};
use flatnet_tests::snapshot;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Where the executables are in the image.
const BIN: &str = "opt/flatnet/bin";
/// As Rust calls what an image calls amd64 and arm64.
const MACHINES: [(&str, &str); 2] = [("amd64", "x86_64"), ("arm64", "aarch64")];
const EXECUTABLES: [&str; 3] = ["flatnet-agent", "flatnet", "flatnet-ipam"];

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The profile of what is for another machine than this.
const OTHER: &str = "quick";

/// What `make test-image` built for a machine.
fn built(machine: &str, name: &str) -> Vec<u8> {
    let profile = match (machine == ARCH, name) {
        (false, _) => OTHER,
        (true, "flatnet-agent") => "agent",
        (true, _) => "release",
    };
    let folder = workspace().join(format!("target/{machine}-unknown-linux-musl/{profile}"));
    fs::read(folder.join(name)).unwrap()
}

/// The archive, unpacked.
struct Layout(tempfile::TempDir);

impl Layout {
    fn unpack() -> Self {
        let folder = tempfile::tempdir().unwrap();
        succeed(command("tar", ["-xf"]).arg(packed()).arg("-C").arg(folder.path()));
        Self(folder)
    }

    fn json(&self, path: impl AsRef<Path>) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(path)).unwrap()).unwrap()
    }

    /// The file that a descriptor speaks of, whose size and digest are as it says.
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        let path = self.0.path().join("blobs").join(digest.replace(':', "/"));
        let bytes = fs::read(&path).unwrap();
        let hash = Sha256::digest(&bytes);
        let hash = hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(digest, format!("sha256:{hash}"));
        assert_eq!(descriptor["size"], bytes.len());
        path
    }

    /// The image's index, behind its name.
    fn index(&self) -> Value {
        let outer = self.json("index.json");
        assert_eq!(outer["manifests"].as_array().unwrap().len(), 1, "{outer}");
        let named = &outer["manifests"][0];
        for key in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
            assert_eq!(named["annotations"][key], format!("localhost/flatnet:{}", version()));
        }
        self.json(self.blob(named))
    }

    /// The manifest of one architecture.
    fn manifest(&self, architecture: &str) -> Value {
        let platform = json!({ "architecture": architecture, "os": "linux" });
        let index = self.index();
        let mut all = index["manifests"].as_array().unwrap().iter();
        self.json(self.blob(all.find(|manifest| manifest["platform"] == platform).unwrap()))
    }

    /// Its layer, unpacked into a folder.
    fn unpack_layer(&self, architecture: &str, folder: &Path) {
        let layer = self.blob(&self.manifest(architecture)["layers"][0]);
        succeed(command("tar", ["-xpf"]).arg(layer).arg("-C").arg(folder));
    }
}

#[test]
fn each_architecture_has_the_executables_built_for_it_and_nothing_else() {
    let layout = Layout::unpack();
    assert_eq!(layout.index()["manifests"].as_array().unwrap().len(), MACHINES.len());
    for (architecture, machine) in MACHINES {
        let folder = tempfile::tempdir().unwrap();
        layout.unpack_layer(architecture, folder.path());
        let found: BTreeMap<PathBuf, (u32, Vec<u8>)> = snapshot::folder(folder.path());
        let mut files: BTreeMap<PathBuf, (u32, Vec<u8>)> = found
            .into_iter()
            .filter(|(path, _)| path.is_symlink() || !path.is_dir())
            .map(|(path, (mode, bytes))| {
                (path.strip_prefix(folder.path()).unwrap().to_owned(), (mode & 0o7777, bytes))
            })
            .collect();
        for name in EXECUTABLES {
            let (mode, bytes) = files.remove(&Path::new(BIN).join(name)).unwrap();
            assert_eq!(mode, 0o755, "{name}");
            assert!(bytes == built(machine, name), "{name} is not what was built for {machine}");
        }
        let licence = fs::read(workspace().join("LICENSE")).unwrap();
        assert_eq!(files.remove(Path::new("LICENSE")), Some((0o644, licence)));
        // The path of a pod's namespace begins with it.
        assert!(files.remove(Path::new("var/run")).is_some());
        assert_eq!(fs::read_link(folder.path().join("var/run")).unwrap(), Path::new("../run"));
        assert_eq!(files.into_keys().collect::<Vec<_>>(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_container_finds_what_it_runs() {
    let layout = Layout::unpack();
    for (architecture, _) in MACHINES {
        let manifest = layout.manifest(architecture);
        let config = layout.json(layout.blob(&manifest["config"]));
        assert_eq!(
            (&config["architecture"], &config["os"]),
            (&json!(architecture), &json!("linux"))
        );
        assert_eq!(config["config"]["Entrypoint"], json!([format!("/{BIN}/flatnet-agent")]));
        assert_eq!(config["config"]["Env"], json!([format!("PATH=/{BIN}")]));
        assert_eq!(config["rootfs"]["diff_ids"], json!([manifest["layers"][0]["digest"]]));
    }
}

#[test]
fn the_image_has_the_same_bytes_each_time() {
    let pack = |epoch: u32| {
        let folder = tempfile::tempdir().unwrap();
        let mut image = Command::new(workspace().join("packaging/image"));
        succeed(image.arg(folder.path()).arg(OTHER).env("SOURCE_DATE_EPOCH", epoch.to_string()));
        fs::read(folder.path().join("flatnet.tar")).unwrap()
    };
    let once = pack(1_700_000_000);
    assert!(once == pack(1_700_000_000), "two images differ");
    assert!(once != pack(1_700_000_001), "the time is not in it");
}

#[test]
fn what_is_built_for_arm64_runs_there() {
    let folder = tempfile::tempdir().unwrap();
    Layout::unpack().unpack_layer("arm64", folder.path());
    let emulator = |name: &str| {
        let mut emulator = Command::new(system("qemu-aarch64-static"));
        emulator.arg(folder.path().join(BIN).join(name));
        emulator
    };
    let told = succeed(emulator("flatnet-agent").arg("--version"));
    assert!(told.starts_with(&format!("flatnet-agent {}", version())), "{told}");
    for name in ["flatnet", "flatnet-ipam"] {
        let mut emulator = emulator(name);
        emulator.env("CNI_COMMAND", "VERSION");
        let output = finish(&mut emulator, br#"{"cniVersion":"1.0.0"}"#);
        assert!(output.status.success(), "{name}: {}", said(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let versions = answer["supportedVersions"].as_array().unwrap();
        assert!(versions.contains(&json!("1.1.0")), "{name}: {answer}");
    }
}

#[test]
fn podman_takes_both_architectures_and_runs_its_own() {
    let cluster = Cluster::new(1);
    let podman = Podman::new(&cluster, &cluster.nodes[0], &[], &packed());
    let image = format!("localhost/flatnet:{}", version());
    let told = podman.ok(&["run", "--rm", "--network=none", &image, "--version"]);
    assert!(told.starts_with(&format!("flatnet-agent {}", version())), "{told}");
    // As a docker-archive, which has no architectures, each has a name of its own.
    for (architecture, _) in MACHINES {
        let image = format!("{image}-{architecture}");
        podman.ok(&["pull", "-q", &format!("docker-archive:{}:{image}", packed().display())]);
        let told = podman.ok(&["inspect", "--format", "{{.Architecture}}", &image]);
        assert_eq!(told, architecture);
    }
}

#[test]
fn containerd_takes_and_runs_it() {
    let cluster = Cluster::new(1);
    let containerd =
        Containerd::start(&cluster, &cluster.nodes[0], &[], &archive(cluster.folder()));
    containerd.ctr(&["images", "import", "--all-platforms", &packed().display().to_string()]);
    let image = format!("localhost/flatnet:{}", version());
    let listed = containerd.ctr(&["images", "list", &format!("name=={image}")]);
    assert!(listed.contains("linux/amd64,linux/arm64"), "{listed}");
    // What ctr is given replaces the entrypoint; by its name, as with `kubectl exec`.
    let run = ["--rm", "--read-only", &image, "try", "flatnet", "--version"];
    let output = containerd.run_container(&run);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", said(&output));
    assert!(told.starts_with(&format!("flatnet {} ", version())), "{told}");
}
