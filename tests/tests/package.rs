//! The Debian package and the tar.gz: the same bytes each time, everything in its place, and
//! nothing left when the package is purged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::kernel;
use flatnet_tests::program::{Running, command, finish, ours, said, succeed, workspace};
use flatnet_tests::snapshot;

/// Compressing takes seconds, and on a slow machine beside other tests minutes.
const PACKING: Duration = Duration::from_secs(900);

/// `packaging/build KIND` into this folder; returns the one file that it made.
fn pack(kind: &str, folder: &Path, epoch: u32) -> PathBuf {
    let mut build = Command::new(workspace().join("packaging/build"));
    build.arg(kind).arg(folder).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let output = Running::start(&mut build, b"").end_within(PACKING);
    assert!(output.status.success(), "{}", said(&output));
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// An empty machine as dpkg sees it, but for one plugin of another program.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "opt/cni/bin"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        fs::write(machine.path("var/lib/dpkg/status"), "").unwrap();
        fs::write(machine.path("opt/cni/bin/loopback"), "theirs").unwrap();
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// `dpkg` on this machine; whatever this one leaves out of packages is put in.
    fn dpkg(&self) -> Command {
        let mut dpkg = command("dpkg", ["--force-script-chrootless", "--path-include=/*"]);
        dpkg.arg(format!("--root={}", self.0.path().display()));
        dpkg.arg(format!("--log={}", self.path("var/lib/dpkg/log").display()));
        dpkg
    }

    /// Every file, link and folder but dpkg's own, with mode and content.
    fn files(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let root = self.0.path();
        let all = snapshot::folder(root).into_iter();
        all.map(|(path, file)| (path.strip_prefix(root).unwrap().to_owned(), file))
            .filter(|(path, _)| !path.starts_with("var"))
            .collect()
    }
}

#[test]
fn a_package_has_the_same_bytes_each_time() {
    let packed = |kind, epoch| {
        let folder = tempfile::tempdir().unwrap();
        fs::read(pack(kind, folder.path(), epoch)).unwrap()
    };
    for kind in ["deb", "agent-deb", "tarball"] {
        assert!(packed(kind, 1_700_000_000) == packed(kind, 1_700_000_000), "two {kind}s differ");
    }
    let other = packed("tarball", 1_700_000_001);
    assert!(packed("tarball", 1_700_000_000) != other, "the time is not in it");
}

#[test]
fn the_package_is_installed_and_purged_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let package = pack("deb", folder.path(), 1_700_000_000);
    let machine = Machine::new();
    let before = machine.files();

    succeed(machine.dpkg().arg("--install").arg(&package));
    let installed = machine.files();
    for name in ["flatnet", "flatnet-ipam", "flatnet-docker"] {
        let (mode, bytes) = &installed[Path::new("opt/cni/bin").join(name).as_path()];
        assert_eq!(mode & 0o7777, 0o755);
        assert!(*bytes == fs::read(ours(name)).unwrap(), "{name} is not what was built");
    }
    for name in ["flatnet", "flatnet-ipam"] {
        let link = fs::read_link(machine.path("usr/lib/cni").join(name)).unwrap();
        assert_eq!(link, Path::new("/opt/cni/bin").join(name));
    }
    let link = fs::read_link(machine.path("usr/libexec/netavark/flatnet")).unwrap();
    assert_eq!(link, Path::new("/opt/cni/bin/flatnet"));
    let link = fs::read_link(machine.path("usr/bin/flatnet")).unwrap();
    assert_eq!(link, Path::new("/opt/cni/bin/flatnet"));
    for file in [
        "usr/share/man/man1/flatnet.1.gz",
        "usr/share/man/man1/flatnet-lab-up.1.gz",
        "usr/share/man/man8/flatnet-docker.8.gz",
        "usr/share/zsh/vendor-completions/_flatnet",
        "usr/share/fish/vendor_completions.d/flatnet.fish",
        "usr/share/doc/flatnet/copyright",
        "usr/share/doc/flatnet/examples/10-pods.conflist",
        "usr/share/doc/flatnet/examples/docker-plugin/config.json",
    ] {
        let (mode, bytes) = &installed[Path::new(file)];
        assert!(mode & 0o777 == 0o644 && !bytes.is_empty(), "{file}: {mode:o}");
    }
    let version = succeed(Command::new(machine.path("opt/cni/bin/flatnet")).arg("--version"));
    let about = succeed(machine.dpkg().args(["--status", "flatnet"]));
    let number = version.split_whitespace().nth(1).unwrap();
    assert!(about.contains(&format!("\nVersion: {number}\n")), "{about}");
    assert!(succeed(machine.dpkg().args(["--verify", "flatnet"])).is_empty());

    succeed(machine.dpkg().args(["--purge", "flatnet"]));
    assert_eq!(snapshot::difference(&before, &machine.files()), Vec::<String>::new());
}

#[test]
fn a_unit_names_man_pages_that_are_there() {
    let units = fs::read_dir(workspace().join("packaging/systemd")).unwrap();
    let mut named = 0;
    for unit in units.map(|unit| unit.unwrap().path()) {
        let text = fs::read_to_string(&unit).unwrap();
        let documents = text.lines().filter_map(|line| line.strip_prefix("Documentation="));
        for page in documents.flat_map(str::split_whitespace) {
            let page = page.strip_prefix("man:").and_then(|page| page.strip_suffix(')')).unwrap();
            let file = format!("target/manual/man/{}", page.replace('(', "."));
            assert!(workspace().join(&file).exists(), "{}: no {file}", unit.display());
            named += 1;
        }
    }
    assert!(named > 3, "{named}");
}

#[test]
fn the_agents_package_is_installed_beside_the_plugins() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let plugin = pack("deb", folders[0].path(), 1_700_000_000);
    let agent = pack("agent-deb", folders[1].path(), 1_700_000_000);
    let machine = Machine::new();
    succeed(machine.dpkg().arg("--install").arg(&plugin));
    let before = machine.files();
    succeed(machine.dpkg().arg("--install").arg(&agent));
    let installed = machine.files();
    assert!(
        installed[Path::new("usr/bin/flatnet-agent")].1 == fs::read(ours("flatnet-agent")).unwrap()
    );
    for (file, expected) in [
        ("usr/bin/flatnet-agent", 0o755),
        ("usr/share/man/man8/flatnet-agent-etcd-list.8.gz", 0o644),
        ("usr/lib/systemd/system/flatnet-agent.service", 0o644),
        ("usr/share/doc/flatnet-agent/etcd.md", 0o644),
        // It may hold a password.
        ("etc/default/flatnet-agent", 0o600),
    ] {
        let (mode, bytes) = &installed[Path::new(file)];
        assert!(mode & 0o7777 == expected && !bytes.is_empty(), "{file}: {mode:o}");
    }
    assert!(succeed(machine.dpkg().args(["--verify", "flatnet-agent"])).is_empty());
    succeed(machine.dpkg().args(["--purge", "flatnet-agent"]));
    assert_eq!(snapshot::difference(&before, &machine.files()), Vec::<String>::new());
}

#[test]
fn the_archive_has_the_same_files_as_the_package() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let archive = pack("tarball", folders[0].path(), 1_700_000_000);
    let package = pack("deb", folders[1].path(), 1_700_000_000);
    let names = |text: String, skip: usize| -> BTreeSet<String> {
        let lines = text.lines().map(|line| line.split_whitespace().nth(skip).unwrap().to_owned());
        lines
            .map(|name| name.trim_start_matches("./").to_owned())
            .filter(|name| !name.ends_with('/') && !name.is_empty())
            // What Debian keeps in its own way.
            .filter(|name| !name.starts_with("usr/share/doc") && !name.contains("lintian"))
            .collect()
    };
    let in_archive = names(succeed(command("tar", ["-tzf"]).arg(&archive)), 0);
    let in_package = names(succeed(command("dpkg-deb", ["--contents"]).arg(&package)), 5);
    assert_eq!(in_archive, in_package);
    assert!(in_archive.contains("opt/cni/bin/flatnet"), "{in_archive:?}");

    let root = folders[2].path();
    succeed(command("tar", ["-xzf"]).arg(&archive).arg("-C").arg(root));
    assert!(
        fs::read(root.join("opt/cni/bin/flatnet")).unwrap() == fs::read(ours("flatnet")).unwrap()
    );
}

#[test]
fn bash_completes_a_command() {
    let script = workspace().join("target/manual/bash/flatnet");
    let complete = |words: &str, index: usize| -> Output {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={index}; \
             _flatnet flatnet \"${{COMP_WORDS[{index}]}}\" \"${{COMP_WORDS[{index}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        finish(&mut command("bash", ["-c", &line]), b"")
    };
    for (words, index, completed) in [
        ("flatnet sy", 1, "sync\n"),
        ("flatnet lab d", 2, "down\n"),
        ("flatnet sync --dry", 2, "--dry-run\n"),
    ] {
        let output = complete(words, index);
        assert_eq!(String::from_utf8_lossy(&output.stdout), completed, "{}", said(&output));
    }
}

/// Whether a shell pattern, which is what NetworkManager and systemd understand, fits.
fn fits(pattern: &str, name: &str) -> bool {
    let script = "case $1 in $2) ;; *) exit 1 ;; esac";
    finish(&mut command("sh", ["-c", script, "sh", name, pattern]), b"").status.success()
}

#[test]
fn other_managers_leave_our_devices_alone_and_only_ours() {
    let folder = workspace().join("packaging/network");
    let read = |file: &str, key: &str, separator: char| -> Vec<String> {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split(separator).map(|word| word.replace("interface-name:", "")).collect()
    };
    let managers = [
        ("NetworkManager.conf", read("NetworkManager.conf", "match-device=", ';')),
        ("NetworkManager.conf", read("NetworkManager.conf", "unmanaged-devices+=", ';')),
        ("00-flatnet.network", read("00-flatnet.network", "Name=", ' ')),
        ("00-flatnet.link", read("00-flatnet.link", "OriginalName=", ' ')),
    ];
    let cluster = Cluster::new(1);
    let _pods = cluster.fill(1);
    let node = &cluster.nodes[0];
    let veth = node.leases()[0]["veth"].as_str().unwrap().to_owned();
    assert!(kernel::link(&node.netns, &veth).is_some());
    // As named by the reference bridge, Docker, LXC, libvirt, and of real devices.
    let others =
        ["veth1a2b3c4d", "veth1a2b3c4", "vethXYZ123", "veth0", "flannel.1", "vnet0", "eth0"];
    // udev ignores longer ones (IFNAMSIZ).
    let link = &managers.last().unwrap().1;
    assert!(link.iter().all(|pattern| pattern.len() < 16), "{link:?}");
    for (file, patterns) in managers {
        let ours = |name: &str| patterns.iter().any(|pattern| fits(pattern, name));
        for name in ["flat.4096", &veth] {
            assert!(ours(name), "{file} does not name {name}");
        }
        for name in others {
            assert!(!ours(name), "{file} names {name}");
        }
    }
}
