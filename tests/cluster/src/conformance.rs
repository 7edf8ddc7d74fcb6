//! Kubernetes' own end-to-end tests, on a cluster of ours.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flatnet_cluster::cluster::{Cluster, Settings};
use flatnet_cluster::patience::interrupted;
use flatnet_cluster::{containerd, network, tools};
use flatnet_tests::image::{Image, pack};
use flatnet_tests::program::{command, finish, said, system, workspace};

use crate::dns;

/// The tests of a network that every Kubernetes has to pass.
pub const FOCUS: &str = r"\[sig-network\].*\[Conformance\]";
/// What needs a cluster for itself, or a cloud.
const SKIP: &str = r"\[Serial\]|\[Disruptive\]|\[Feature:|\[Alpha\]";
/// What the tests run in their pods.
const IMAGES: [&str; 4] = ["agnhost", "busybox", "jessie-dnsutils", "pause"];
/// What they call there that busybox has not, or otherwise.
const PROGRAMS: [(&str, &str); 5] =
    [("curl", "curl"), ("dash", "sh"), ("dig", "dig"), ("getent", "getent"), ("nc.openbsd", "nc")];

/// Runs the tests that the regular expression chooses; whether all passed.
pub fn run(focus: &str) -> bool {
    let settings = Settings::new("conformance", 2);
    let cluster = Cluster::start(&settings);
    network::install(&cluster);
    cluster.route_to_pods();
    let archive = archive(cluster.folder());
    for node in &cluster.nodes {
        containerd::import(node.machine(), &archive);
    }
    dns::install(&cluster);
    let reports = workspace().join("target/conformance");
    drop(fs::remove_dir_all(&reports));
    fs::create_dir_all(&reports).expect("a folder for reports");
    let passed = ginkgo(&cluster, focus, &reports);
    if !passed && !interrupted() {
        println!("logs: {}", cluster.keep_logs().display());
    }
    passed
}

/// Runs them, several at once, and prints what they say; it is in a file, too.
fn ginkgo(cluster: &Cluster, focus: &str, reports: &Path) -> bool {
    let folder = tools::built("conformance");
    let mut ginkgo = Command::new(folder.join("ginkgo"));
    ginkgo
        .args(["--procs=4", "--no-color", "--timeout=60m"])
        .arg(format!("--focus={focus}"))
        .arg(format!("--skip={SKIP}"))
        .arg(folder.join("e2e.test"))
        .args(["--", "--provider=local", "--dns-domain=cluster.local"])
        .arg(format!("--num-nodes={}", cluster.nodes.len()))
        .arg(format!("--kubeconfig={}", cluster.kubectl().kubeconfig().display()))
        .arg(format!("--report-dir={}", reports.display()))
        .stdout(Stdio::piped());
    let start = || ginkgo.spawn().expect("start ginkgo");
    let mut child = cluster.control.netns.run(start);
    let mut log = File::create(reports.join("log")).expect("a log");
    let output = child.stdout.take().expect("what ginkgo prints");
    let mut summary = String::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        drop(writeln!(log, "{line}"));
        // `SUCCESS! -- 45 Passed | 0 Failed | 0 Pending | 7006 Skipped`
        if line.contains(" Passed | ") {
            summary = line;
        }
    }
    let good = child.wait().is_ok_and(|status| status.success());
    let (passed, failed) = counts(&summary);
    println!("{passed} passed, {failed} failed");
    good && passed > 0
}

/// How many passed and failed, of ginkgo's last word.
fn counts(summary: &str) -> (usize, usize) {
    let words: Vec<&str> = summary.split_whitespace().collect();
    let before = |word: &str| {
        let pair = words.windows(2).find(|pair| pair[1] == word)?;
        pair[0].parse().ok()
    };
    (before("Passed").unwrap_or(0), before("Failed").unwrap_or(0))
}

/// Writes the images that the tests want, under their names.
fn archive(folder: &Path) -> PathBuf {
    let work = folder.join("conformance");
    fs::create_dir_all(&work).expect("a folder for images");
    let names = wanted();
    let mut images: Vec<Image> = names.iter().map(|name| image(name)).collect();
    images.push(Image { name: dns::IMAGE, entrypoint: &["/coredns"], command: &[] });
    pack(&work, &files(), &images)
}

fn image(name: &str) -> Image<'_> {
    if name.contains("/agnhost:") {
        return Image { name, entrypoint: &["/agnhost"], command: &["pause"] };
    }
    Image { name, entrypoint: &[], command: &["/bin/sleep", "2147483647"] }
}

/// The names that this version of the tests has for those images.
fn wanted() -> Vec<String> {
    let list =
        Command::new(tools::built("conformance").join("e2e.test")).arg("--list-images").output();
    let list = list.expect("run e2e.test").stdout;
    let wanted = |line: &&str| {
        let name = line.rsplit('/').next().and_then(|last| last.split(':').next());
        line.starts_with("registry.k8s.io/") && name.is_some_and(|name| IMAGES.contains(&name))
    };
    let list = String::from_utf8_lossy(&list).into_owned();
    list.lines().filter(wanted).map(str::to_owned).collect()
}

/// What is in the images: programs, and the libraries of those of this machine.
fn files() -> Vec<(PathBuf, String)> {
    let agnhost = tools::kubernetes().join("agnhost");
    let coredns = tools::built("coredns").join("coredns");
    let mut files = vec![(agnhost, "agnhost".to_owned()), (coredns, "coredns".to_owned())];
    let certificate = ["localhost.crt", "localhost.key"];
    files.extend(certificate.map(|name| (tools::built("conformance").join(name), name.to_owned())));
    let mut libraries = BTreeSet::new();
    for (name, path) in PROGRAMS {
        let program = system(name);
        libraries.extend(libraries_of(&program));
        files.push((program, format!("bin/{path}")));
    }
    let inside = |path: &Path| path.strip_prefix("/").unwrap_or(path).display().to_string();
    files.extend(libraries.into_iter().map(|path| (path.clone(), inside(&path))));
    files
}

/// The files that the dynamic linker opens for a program.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let output = finish(command("ldd", [program]).env("LC_ALL", "C"), b"");
    assert!(output.status.success(), "ldd {}: {}", program.display(), said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_counted() {
        let last = "FAIL! -- 44 Passed | 1 Failed | 0 Pending | 7006 Skipped";
        assert_eq!(counts(last), (44, 1));
        assert_eq!(counts(""), (0, 0));
    }
}
