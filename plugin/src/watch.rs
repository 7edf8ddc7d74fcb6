//! Waiting for something that may make a network differ from its range file: the files, or the
//! kernel. What it was is not asked; whoever waits looks at everything anyway.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Of `enum rtnetlink_groups`: links, neighbours, addresses, routes, rules, and settings such as
/// forwarding, of both families.
const RTNETLINK_GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES`
const NFTABLES_GROUP: u32 = 7;
/// Whoever changes one thing changes others: wait until it has been quiet for so long ...
const QUIET: Duration = Duration::from_millis(200);
/// ... but not longer than this, on a node where pods come and go all the time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pods' namespaces do not tell; they are looked at as often as this.
const AT_LEAST: Duration = Duration::from_secs(60);

/// What is listened to.
pub struct Watch {
    files: Inotify,
    routes: Socket,
    rules: Socket,
}

impl Watch {
    /// Listens to the kernel, in the calling thread's network namespace, and to the folders of these
    /// files: an editor or a configuration manager renames a new file over the old one, and a mounted
    /// ConfigMap changes a link beside it. A folder that is not there yet is waited for.
    ///
    /// # Errors
    /// What the system said; for a folder, its name too.
    pub fn new(files: &BTreeSet<PathBuf>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| folder(file)).collect();
        folders.into_iter().try_for_each(|folder| watch(&inotify, folder))?;
        Ok(Self {
            files: inotify,
            routes: listen(NETLINK_ROUTE, &RTNETLINK_GROUPS)?,
            rules: listen(NETLINK_NETFILTER, &[NFTABLES_GROUP])?,
        })
    }

    /// Returns when something has happened and it is quiet again.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(&self) -> io::Result<()> {
        if !self.hear(AT_LEAST)? {
            return Ok(());
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.hear(QUIET)? {}
        Ok(())
    }

    /// Whether something happens within that time. What has happened is forgotten.
    fn hear(&self, within: Duration) -> io::Result<bool> {
        let fds: [BorrowedFd<'_>; 3] =
            [self.files.as_fd(), self.routes.as_fd(), self.rules.as_fd()];
        let mut ready = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            polled => polled?,
        };
        while self.files.read_events().is_ok_and(|events| !events.is_empty()) {}
        drain(&self.routes)?;
        drain(&self.rules)?;
        Ok(true)
    }
}

/// The folder that a file lies in; a bare name lies in the current one.
fn folder(file: &Path) -> Option<&Path> {
    file.parent().map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

/// Watches a folder; as long as it is not there, the one that it will appear in.
fn watch(inotify: &Inotify, folder: &Path) -> io::Result<()> {
    let change = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_TO;
    let add = || inotify.add_watch(folder, change);
    let added = match (add(), folder.parent()) {
        (Err(Errno::ENOENT), Some(parent)) => {
            watch(inotify, parent)?;
            // It may have come before the other was watched.
            match add() {
                Err(Errno::ENOENT) => return Ok(()),
                added => added,
            }
        }
        (added, _) => added,
    };
    added.map(drop).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("{}: {errno}", folder.display()))
    })
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

fn drain(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut &mut buffer[..], 0) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // Some were lost: that they came is all we want to know.
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_renamed_into_the_folder_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let watch = Watch::new(&BTreeSet::from([file.clone()])).unwrap();
        while watch.hear(Duration::ZERO).unwrap() {}
        fs::write(folder.path().join("new"), "").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(watch.hear(Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn a_folder_that_comes_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/flatnet/pods.json");
        let files = BTreeSet::from([file.clone()]);
        for missing in ["etc", "etc/flatnet"] {
            let watch = Watch::new(&files).unwrap();
            while watch.hear(Duration::ZERO).unwrap() {}
            fs::create_dir(folder.path().join(missing)).unwrap();
            assert!(watch.hear(Duration::from_secs(5)).unwrap(), "{missing}");
        }
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        let of = |file: &'static str| folder(Path::new(file)).unwrap();
        assert_eq!(of("pods.json"), Path::new("."));
        assert_eq!(of("./pods.json"), Path::new("."));
        assert_eq!(of("/etc/flatnet/pods.json"), Path::new("/etc/flatnet"));
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc");
        fs::write(&file, "").unwrap();
        let error = Watch::new(&BTreeSet::from([file.join("flatnet/pods.json")])).err().unwrap();
        assert!(error.to_string().contains("/etc/flatnet: "), "{error}");
    }
}
