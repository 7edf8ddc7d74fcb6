//! A container image without a registry: a static busybox in an archive that `ctr images import`
//! and `podman load` both read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::program::{command, finish, said, system, workspace};

/// What the image is called. A name with a host, so that no runtime goes and asks another.
pub const IMAGE: &str = "localhost/flatnet/busybox:test";

/// What a web server in the image answers to `GET /`.
pub const GREETING: &str = "hello from a pod";

/// The image of our own executables, which `make test-image` packed.
pub fn ours() -> PathBuf {
    let path = workspace().join("target/test-image/flatnet.tar");
    assert!(path.is_file(), "{} is not there: run `make test-image`", path.display());
    path.canonicalize().expect("the path of a file")
}

/// An image by its name, and what a container of it runs.
#[derive(Debug)]
pub struct Image<'a> {
    /// The name, with its tag.
    pub name: &'a str,
    /// What it always runs.
    pub entrypoint: &'a [&'a str],
    /// What comes behind, unless a container has words of its own.
    pub command: &'a [&'a str],
}

/// Writes the archive into a folder.
pub fn archive(folder: &Path) -> PathBuf {
    // It is also the pause image's.
    let image = Image { name: IMAGE, entrypoint: &[], command: &["/bin/sleep", "3600"] };
    pack(folder, &[], &[image])
}

/// Writes an archive of images that differ in what they run; all have busybox and these files, each with its path
/// in the image.
pub fn pack(folder: &Path, files: &[(PathBuf, String)], images: &[Image]) -> PathBuf {
    let work = folder.join("image");
    let rootfs = work.join("rootfs");
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
        fs::create_dir_all(rootfs.join(name)).expect("make a folder of the image");
    }
    let busybox = system("busybox");
    fs::copy(&busybox, rootfs.join("bin/busybox")).expect("copy busybox");
    let list = finish(Command::new(&busybox).arg("--list"), b"");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    for (source, path) in files {
        let target = rootfs.join(path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("make a folder of the image");
        // Not through the link to an applet of that name.
        drop(fs::remove_file(&target));
        fs::copy(source, &target).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    }
    fs::write(rootfs.join("www/index.html"), GREETING).expect("write the page");

    let layer = work.join("layer.tar");
    tar(&layer, &rootfs, &["."]);
    let digest = Sha256::digest(fs::read(&layer).expect("read the layer"));
    let digest = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let mut names = vec!["manifest.json".to_owned(), "layer.tar".to_owned()];
    let mut manifest = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let name = format!("config-{number}.json");
        fs::write(work.join(&name), config(image, &digest)).expect("write a config");
        manifest.push(json!({
            "Config": name, "RepoTags": [image.name], "Layers": ["layer.tar"],
        }));
        names.push(name);
    }
    fs::write(work.join("manifest.json"), json!(manifest).to_string()).expect("write the manifest");
    let archive = folder.join("image.tar");
    tar(&archive, &work, &names);
    archive
}

/// An image's configuration, its one layer having this digest.
fn config(image: &Image, digest: &str) -> String {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint, "Cmd": image.command, "Env": ["PATH=/bin"],
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created_by": "flatnet-tests" }],
    });
    config.to_string()
}

/// Packs names of a folder.
fn tar(archive: &Path, folder: &Path, names: &[impl AsRef<OsStr>]) {
    let mut tar = command("tar", ["--owner=0", "--group=0", "-C"]);
    let output = finish(tar.arg(folder).arg("-cf").arg(archive).args(names), b"");
    assert!(output.status.success(), "cannot pack {}: {}", folder.display(), said(&output));
}
