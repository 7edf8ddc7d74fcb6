//! What is no regular file, in the place of each file that a call opens: none hangs a call, and where one
//! is in the way the call says what it is and where.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatnet_tests::cli;
use flatnet_tests::cluster::Cluster;
use flatnet_tests::cni::Outcome;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::program::{Running, said};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use serde_json::json;

/// No call takes so long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(10);
/// Nor a command; `doctor` waits for peers that do not answer.
const LONG: Duration = Duration::from_secs(30);

/// What it is called, and how it is made.
type Kind = (&'static str, fn(&Path));

/// What is put in a file's place.
const KINDS: [Kind; 6] = [
    ("a FIFO", |path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO")),
    ("a device", |path| device(path, 1, 3)),
    // One without an end.
    ("a device", |path| device(path, 1, 5)),
    ("a device", |path| device(path, 5, 0)),
    ("a socket", |path| drop(UnixListener::bind(path).expect("a socket"))),
    ("a folder", |path| fs::create_dir(path).expect("a folder")),
];

/// Namespaces, but not of a network.
const NAMESPACES: [Kind; 2] = [
    ("a namespace of mounts", |path| symlink("/proc/self/ns/mnt", path).expect("a link")),
    ("a namespace of users", |path| symlink("/proc/self/ns/user", path).expect("a link")),
];

fn device(path: &Path, major: u64, minor: u64) {
    mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(major, minor)).expect("a device");
}

fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).expect("remove a folder"),
        Ok(_) => fs::remove_file(path).expect("remove a file"),
        Err(_) => {}
    }
}

fn call(node: &Node, verb: &str, pod: &Pod) -> Outcome {
    let mut conf = node.network.configuration.clone();
    if verb == "CHECK" {
        conf["prevResult"] = pod.result.clone();
    }
    let call = match verb {
        "STATUS" | "GC" => node.call(verb),
        _ => node.call_for(verb, pod),
    };
    call.stdin(conf.to_string().as_bytes()).start().end_within(DEADLINE)
}

/// Puts something in the place of what is there, and afterwards that back.
fn instead(path: &Path, make: fn(&Path), work: impl FnOnce()) {
    let saved = path.with_extension("saved");
    let was = path.exists().then(|| fs::rename(path, &saved).expect("put it aside"));
    make(path);
    work();
    clear(path);
    if was.is_some() {
        fs::rename(&saved, path).expect("put it back");
    }
}

/// A place in the state folder, and which verbs may fail for what is there. An ADD, and so a STATUS, may
/// fail for a folder alone where anything else is replaced.
struct Place {
    path: PathBuf,
    add: Fails,
    others: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Never,
    ForFolder,
    Always,
}

impl Fails {
    fn fails(self, kind: &str) -> bool {
        self == Self::Always || self == Self::ForFolder && kind == "a folder"
    }
}

fn places(node: &Node, lease: &Path) -> Vec<Place> {
    let place = |name: &str, add, others| Place { path: node.state().join(name), add, others };
    vec![
        place("lock", Fails::Always, &["DEL", "GC"]),
        place("overlay.lock", Fails::Always, &[]),
        place("overlay.json", Fails::ForFolder, &[]),
        place("overlay.json.tmp", Fails::ForFolder, &[]),
        place("../.lock", Fails::Always, &[]),
        place("addresses/10.244.1.200", Fails::Never, &["GC"]),
        Place { path: lease.to_owned(), add: Fails::Never, others: &["DEL", "CHECK", "GC"] },
    ]
}

#[test]
fn in_the_state_folder() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    // One of them is taken for no pod's.
    node.begin_with_the_first("pods");
    let mut stays = node.add("stays");
    let folder = node.state().join("leases");
    let lease = fs::read_dir(folder).expect("leases").next().expect("one").expect("it").path();
    for Place { path, add, others } in places(node, &lease) {
        for (kind, make) in KINDS {
            let shown = path.file_name().expect("a name").to_string_lossy().into_owned();
            let row = format!("{kind} as {shown}");
            let new = Pod::new("new");
            // An ADD that applies the range file opens all there is.
            let _ = fs::remove_file(node.state().join("overlay.json"));
            instead(&path, make, || {
                let told = |verb: &str, pod: &Pod| {
                    let end = call(node, verb, pod);
                    (!end.status().success()).then(|| end.error())
                };
                let [status, added] = ["STATUS", "ADD"].map(|verb| told(verb, &new));
                assert_eq!(added.is_some(), add.fails(kind), "{row}: {added:?}");
                assert_eq!(status.is_some(), added.is_some(), "{row}: {status:?} and {added:?}");
                assert!(status.iter().all(|error| error.code == 50), "{row}: {status:?}");
                assert!(added.iter().all(|error| error.code == 5), "{row}: {added:?}");
                let mut all: Vec<_> = status.into_iter().chain(added).collect();
                for (verb, pod) in
                    [("CHECK", &stays), ("DEL", &new), ("DEL", &stays), ("GC", &stays)]
                {
                    let error = told(verb, pod);
                    assert!(error.is_none() || others.contains(&verb), "{row}, {verb}: {error:?}");
                    all.extend(error);
                }
                for error in all {
                    assert!(error.msg.contains(&shown), "{row}: {error:?}");
                    let words = [kind, "Is a directory"];
                    assert!(words.iter().any(|w| error.msg.contains(w)), "{row}: {error:?}");
                }
            });
            // Once it is away everything is as before.
            for pod in [&new, &stays] {
                call(node, "DEL", pod).silent();
            }
            call(node, "GC", &stays).silent();
            node.assert_no_attachment();
            node.attach(&mut stays);
        }
    }
}

#[test]
fn as_namespace() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let path = cluster.folder().join("namespace");
    for (kind, make) in KINDS.into_iter().chain(NAMESPACES) {
        instead(&path, make, || {
            let call = |verb| {
                let mut conf = node.network.configuration.clone();
                conf["prevResult"] = pod.result.clone();
                let call = node.call(verb).attachment("another", &path, "eth0");
                call.stdin(conf.to_string().as_bytes()).start().end_within(DEADLINE)
            };
            for verb in ["ADD", "CHECK"] {
                let error = call(verb).error();
                assert_eq!(error.code, 8, "{kind}, {verb}: {error:?}");
                let shown = format!("CNI_NETNS={}: not a network namespace", path.display());
                assert!(error.msg.starts_with(&shown), "{kind}, {verb}: {error:?}");
            }
            call("DEL").silent();
        });
    }
    call(node, "CHECK", &pod).silent();
}

#[test]
fn as_range_file() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    let pod = node.add("pod");
    let path = &cluster.network.range_file;
    for (kind, make) in KINDS {
        instead(path, make, || {
            for (verb, code) in [("ADD", 5), ("STATUS", 50)] {
                let error = call(node, verb, &Pod::new("new")).error();
                assert_eq!(error.code, code, "{kind}, {verb}: {error:?}");
                let shown = format!("cannot read {}: ", path.display());
                assert!(error.msg.contains(&shown), "{kind}, {verb}: {error:?}");
                let words = ["it is not a regular file", "Is a directory"];
                assert!(words.iter().any(|w| error.msg.contains(w)), "{kind}: {error:?}");
            }
            call(node, "CHECK", &pod).silent();
            call(node, "GC", &pod).silent();
        });
    }
    call(node, "DEL", &pod).silent();
    call(node, "STATUS", &pod).silent();
}

/// Lines go to standard error then, and no pod waits for a reader. A device may be meant.
#[test]
fn as_log_file() {
    let mut cluster = Cluster::new(2);
    let path = cluster.folder().join("log");
    cluster.configure("logFile", json!(path));
    cluster.configure("logLevel", json!("debug"));
    let node = &cluster.nodes[0];
    for (kind, make) in KINDS {
        instead(&path, make, || {
            let pod = Pod::new("pod");
            let end = call(node, "ADD", &pod);
            let told = end.stderr();
            end.result();
            let fallen = told.contains(&format!("cannot write logFile {}", path.display()));
            assert!(fallen || kind == "a device", "{kind}: {told}");
            call(node, "DEL", &pod).silent();
        });
    }
    // One that has a reader who does not read.
    instead(&path, KINDS[0].1, || {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
        let mut full = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits())
            .open(&path)
            .expect("the FIFO");
        while full.write(&[b' '; 4096]).is_ok() {}
        let pod = Pod::new("pod");
        call(node, "ADD", &pod).result();
        call(node, "DEL", &pod).silent();
    });
}

#[test]
fn as_configuration() {
    let cluster = Cluster::new(2);
    let node = &cluster.nodes[0];
    drop(node.add("pod"));
    let folder = cli::conf_dir(node, &[]);
    let path = folder.join("05-other.conflist");
    let shown = folder.display().to_string();
    for (kind, make) in KINDS {
        instead(&path, make, || {
            for (command, arguments) in [
                ("status", &[][..]),
                ("list", &[]),
                ("sync", &[]),
                ("sync", &["--dry-run"]),
                ("doctor", &[]),
            ] {
                let arguments = [&["--conf-dir", &shown], arguments].concat();
                let mut command = cli::prepared(command, &arguments);
                let output = node.netns.run(|| Running::start(&mut command, b"")).end_within(LONG);
                let told = said(&output);
                assert!(told.contains("05-other.conflist"), "{kind}: {told}");
                let words = ["it is not a regular file", "Is a directory"];
                assert!(words.iter().any(|words| told.contains(words)), "{kind}: {told}");
            }
        });
    }
}
