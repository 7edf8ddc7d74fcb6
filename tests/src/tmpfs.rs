//! A file system of a few pages, to be filled up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts it over a folder, which is made.
    pub fn mount(path: &Path) -> Self {
        fs::create_dir_all(path).expect("a folder");
        let tmpfs = Self(path.to_owned());
        tmpfs.run("mount", &["-t", "tmpfs", "-o", "size=128k,nr_inodes=40,mode=0700", "tmpfs"]);
        tmpfs
    }

    /// Mounts it again with these options.
    pub fn remount(&self, options: &str) {
        self.run("mount", &["-o", &format!("remount,{options}")]);
    }

    /// What fills it up: a file, or a folder of files.
    pub fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no page.
    pub fn fill(&self) {
        // Writing ends when the file system is full.
        drop(fs::write(self.filler(), vec![0; 1 << 20]));
    }

    /// Leaves no inode.
    pub fn crowd(&self) {
        fs::create_dir(self.filler()).expect("a folder");
        let mut files = (0..100).map(|n| fs::write(self.filler().join(n.to_string()), ""));
        assert!(files.any(|made| made.is_err()), "there is room for all");
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
