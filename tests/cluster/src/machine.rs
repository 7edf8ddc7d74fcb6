//! What a node is to the programs on it: a network, a mount and a UTS namespace, and cgroups of its own. Its folders
//! stand where programs have them by default, so that what a DaemonSet or `flatnet install` puts there stays there.

use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use flatnet_tests::netns::Netns;
use flatnet_tests::program::{bin_dir, command, finish, said};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sethostname};

use crate::cgroup::Cgroup;
use crate::tools;

/// A node's own folders and where they stand; all but the last outlive a reboot.
const FOLDERS: [(&str, &str); 5] =
    [("etc", "/etc"), ("opt", "/opt"), ("lib", "/var/lib"), ("log", "/var/log"), ("run", "/run")];
/// Folders that its programs expect.
const EXPECTED: [&str; 12] = [
    "etc/cni/net.d",
    "etc/containerd",
    "etc/flatnet",
    "etc/kubernetes/manifests",
    "opt/cni/bin",
    "lib/cni",
    "lib/containerd",
    "lib/kubelet",
    "log/containers",
    "log/pods",
    "run/lock",
    "run/netns",
];
/// What of the machine's /etc its programs read.
const COMMON: [&str; 7] =
    ["alternatives", "group", "ld.so.cache", "nsswitch.conf", "passwd", "protocols", "services"];
/// Sysctls of the whole machine with the value that the kubelet wants. It finds them set, and the machine keeps its own.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    /// Its network namespace.
    pub netns: Netns,
    /// Its cgroups.
    pub cgroup: Cgroup,
    mounts: File,
    name: File,
}

impl Machine {
    /// Makes the folders of a machine, which has not run yet.
    pub fn prepare(name: &str, folder: &Path) {
        for path in EXPECTED {
            fs::create_dir_all(folder.join(path)).expect("a folder of a node");
        }
        let etc = folder.join("etc");
        let present = COMMON.iter().map(|name| Path::new("/etc").join(name));
        for source in present.filter(|path| path.exists()) {
            let output = finish(command("cp", ["-a"]).arg(source).arg(&etc), b"");
            assert!(output.status.success(), "{}", said(&output));
        }
        let number = name.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
        for (file, content) in [
            ("hostname", format!("{name}\n")),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
            ("machine-id", format!("{number:032x}\n")),
            // Nobody answers there.
            ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        ] {
            fs::write(etc.join(file), content).expect("a file of a node");
        }
    }

    /// Starts a machine with these folders. Nothing runs on it yet, and it has no cable.
    pub fn boot(name: &str, folder: &Path) -> Self {
        let netns = Netns::new(name);
        let cgroup = Cgroup::new(netns.name());
        let run = folder.join("run");
        drop(fs::remove_dir_all(&run));
        for path in EXPECTED.iter().filter(|path| path.starts_with("run/")) {
            fs::create_dir_all(folder.join(path)).expect("a folder of a node");
        }
        let (mounts, uts) = netns.run(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).expect("new namespaces");
            sethostname(name).expect("set the name of the node");
            arrange(folder);
            // They live as long as these files are open, or a process is inside.
            ["mnt", "uts"]
                .map(|kind| {
                    File::open(format!("/proc/thread-self/ns/{kind}")).expect("a namespace of ours")
                })
                .into()
        });
        Self { netns, cgroup, mounts, name: uts }
    }

    /// Runs `work` on a thread inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let network = File::open(self.netns.path()).expect("the namespace of a node");
            // A thread that shares its working folder with others cannot go into another tree.
            unshare(CloneFlags::CLONE_FS).expect("a working folder of its own");
            setns(&network, CloneFlags::CLONE_NEWNET).expect("enter the network of a node");
            setns(&self.name, CloneFlags::CLONE_NEWUTS).expect("enter the name of a node");
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("enter the mounts of a node");
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a command inside to its end, whatever that is.
    pub fn finish(&self, command: &mut Command) -> Output {
        self.run(|| finish(command, b""))
    }

    /// Runs a command line (words split at blanks) inside; fails unless it succeeds. Returns its output.
    pub fn exec(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command line with a program");
        let output = self.finish(Command::new(program).args(words).env("PATH", PATH));
        assert!(output.status.success(), "{}: `{line}`: {}", self.netns.name(), said(&output));
        String::from_utf8(output.stdout).expect("text output")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut left = self.cgroup.processes();
            let inside = self.netns.processes();
            left.extend(inside.iter().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where a node's programs are found on it.
pub const PATH: &str = "/opt/flatnet:/opt/kubernetes:/opt/containerd:/usr/sbin:/usr/bin:/sbin:/bin";

/// The mounts of a machine, in the mount namespace of the calling thread, which is still a copy of ours.
fn arrange(folder: &Path) {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).expect("mounts of our own");
    // Ahead of what may hide them. A node finds its programs there, wherever they are here.
    let programs = [
        ("kubernetes", tools::kubernetes()),
        ("containerd", tools::containerd()),
        ("flatnet", bin_dir()),
    ];
    for (name, source) in programs {
        bind(&source, &made(folder.join("opt").join(name)));
    }
    // The devices in /sys are those of the network namespace that mounts it.
    let aside = made(folder.join("cgroup"));
    bind("/sys/fs/cgroup".as_ref(), &aside);
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
        .expect("mount /sys");
    bind(&aside, "/sys/fs/cgroup".as_ref());
    umount2(&aside, MntFlags::MNT_DETACH).expect("unmount the cgroups from aside");
    let sysctls = made(folder.join("sysctl"));
    for (name, value) in SYSCTLS {
        let file = sysctls.join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n")).expect("a file for a sysctl");
        bind(&file, &Path::new("/proc/sys").join(name));
    }
    for (own, place) in FOLDERS {
        bind(&folder.join(own), place.as_ref());
    }
    // A pod may ask that mounts of its node reach it, and its own the node.
    let flags = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .expect("mounts that pods can share");
}

fn made(folder: PathBuf) -> PathBuf {
    fs::create_dir_all(&folder).expect("a folder of a node");
    folder
}

fn bind(source: &Path, target: &Path) {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).unwrap_or_else(|error| {
        panic!("cannot mount {} at {}: {error}", source.display(), target.display());
    });
}
