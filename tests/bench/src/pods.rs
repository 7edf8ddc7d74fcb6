//! Many pods' namespaces, made and removed without a process for each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flatnet_tests::netns::{FOLDER, PREFIX};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Namespaces that no plugin has touched yet, removed when dropped.
#[derive(Debug)]
pub struct Pods {
    paths: Vec<PathBuf>,
}

impl Pods {
    /// Makes `count` namespaces, named as those of the tests are, so that the next run finds and
    /// removes what a killed one leaves. A namespace must have been made with `ip netns` before: it
    /// prepares the folder.
    pub fn new(count: usize) -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let path = || {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            Path::new(FOLDER).join(format!("{PREFIX}{}-pod-{n}", std::process::id()))
        };
        let mut pods = Self { paths: Vec::with_capacity(count) };
        // On a thread of its own: this one keeps its namespace.
        thread::scope(|scope| {
            scope.spawn(|| {
                for path in std::iter::repeat_with(path).take(count) {
                    unshare(CloneFlags::CLONE_NEWNET).expect("make a namespace");
                    File::create(&path).expect("a file for a namespace");
                    pods.paths.push(path.clone());
                    let own = Some("/proc/thread-self/ns/net");
                    mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                }
            });
        });
        pods
    }

    /// The namespace files, as `CNI_NETNS` has them.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = umount2(path, MntFlags::MNT_DETACH);
            let _ = fs::remove_file(path);
        }
    }
}
