//! A container image without a registry: a static busybox in an archive that `ctr images import`
//! and `podman load` both read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::program::{command, finish, said, system};

/// What the image is called. A name with a host, so that no runtime goes and asks another.
pub const IMAGE: &str = "localhost/flatnet/busybox:test";

/// What a web server in the image answers to `GET /`.
pub const GREETING: &str = "hello from a pod";

/// The programs that the tests run in containers.
const APPLETS: [&str; 8] = ["sh", "sleep", "ping", "httpd", "ip", "cat", "nc", "true"];

/// Writes the archive into a folder.
pub fn archive(folder: &Path) -> PathBuf {
    let work = folder.join("image");
    let rootfs = work.join("rootfs");
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
        fs::create_dir_all(rootfs.join(name)).expect("make a folder of the image");
    }
    fs::copy(system("busybox"), rootfs.join("bin/busybox")).expect("copy busybox");
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    fs::write(rootfs.join("www/index.html"), GREETING).expect("write the page");

    let layer = work.join("layer.tar");
    tar(&layer, &rootfs, &["."]);
    let digest = Sha256::digest(fs::read(&layer).expect("read the layer"));
    let digest = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        // As `Cmd`, so that a container's own command replaces it. It is also the pause image's.
        "config": { "Cmd": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created_by": "flatnet-tests" }],
    });
    fs::write(work.join("config.json"), config.to_string()).expect("write the config");
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(work.join("manifest.json"), manifest.to_string()).expect("write the manifest");
    let archive = folder.join("image.tar");
    tar(&archive, &work, &["manifest.json", "config.json", "layer.tar"]);
    archive
}

/// Packs names of a folder.
fn tar(archive: &Path, folder: &Path, names: &[&str]) {
    let mut tar = command("tar", ["--owner=0", "--group=0", "-C"]);
    let output = finish(tar.arg(folder).arg("-cf").arg(archive).args(names), b"");
    assert!(output.status.success(), "cannot pack {}: {}", folder.display(), said(&output));
}
