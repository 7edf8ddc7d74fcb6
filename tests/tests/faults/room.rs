//! A state folder that is full or read-only: a clear error, nothing left, and all is well when there
//! is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::Pod;

use crate::baseline::{Baseline, Tally};

/// A small tmpfs, unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Self {
        fs::create_dir_all(path).expect("a folder");
        let tmpfs = Self(path.to_owned());
        tmpfs.run("mount", &["-t", "tmpfs", "-o", "size=128k,nr_inodes=40,mode=0700", "tmpfs"]);
        tmpfs
    }

    fn remount(&self, options: &str) {
        self.run("mount", &["-o", &format!("remount,{options}")]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let status = Command::new(program).args(args).arg(&self.0).status().expect(program);
        assert!(status.success(), "{program} {args:?}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn no_room_is_a_clear_error_and_passes() {
    let cluster = Cluster::new(1);
    let tmpfs = Tmpfs::mount(&cluster.network.state_dir);
    cluster.settle();
    let node = &cluster.nodes[0];
    let baseline = Baseline::of(node);
    let living = node.add("living");
    let mut tally = Tally::new("full or read-only state folder");
    let filler = tmpfs.0.join("filler");
    for case in ["bytes", "inodes", "read-only"] {
        match case {
            // Writing ends when the file system is full.
            "bytes" => drop(fs::write(&filler, vec![0; 1 << 20])),
            "inodes" => {
                fs::create_dir(&filler).expect("a folder");
                let mut files = (0..100).map(|n| fs::write(filler.join(n.to_string()), ""));
                assert!(files.any(|made| made.is_err()), "there is room for all");
            }
            _ => tmpfs.remount("ro"),
        }
        let (before, mut wrong) = (baseline.left(), Vec::new());
        let pod = Pod::new("refused");
        let outcome = node.call_for("ADD", &pod).run();
        if outcome.status().success() {
            wrong.push("ADD found room".to_owned());
        } else if outcome.error().code != 5 || !outcome.error().msg.contains("state") {
            wrong.push(format!("{:?}", outcome.error()));
        }
        if baseline.left() != before {
            wrong.push(format!("left: {:#?}", baseline.left()));
        }
        match case {
            "bytes" => fs::remove_file(&filler).expect("remove"),
            "inodes" => fs::remove_dir_all(&filler).expect("remove"),
            _ => tmpfs.remount("rw"),
        }
        let mut next = Pod::new("next");
        wrong.extend(baseline.attach(&mut next));
        node.del(&next).silent();
        wrong.extend(baseline.lives(&living));
        tally.point(case, true, wrong);
    }
    node.del(&living).silent();
    tally.point("the end", true, baseline.left());
    tally.finish();
}
