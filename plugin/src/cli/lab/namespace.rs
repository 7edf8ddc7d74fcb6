//! Named network namespaces of a lab, such as `ip netns add` makes: a file in `/run/netns` on which
//! the namespace is mounted, which keeps it alive without a process.
//!
//! Each bears the lab's mark, an alias on its `lo`, before it gets its name: what does not bear it
//! is another program's and is never removed.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::name::Name;
use super::namespace_folder::file;
use crate::cli::error::CommandError;
use crate::kernel::netns::Netns;
use crate::kernel::{Change, Kernel as _, Netlink, Observe as _};

const OWN: &str = "/proc/thread-self/ns/net";

fn mark(lab: &Name) -> String {
    format!("flatnet-lab:{lab}")
}

/// Whether the name is taken, by a namespace or by what is left of one.
pub fn exists(name: &str) -> bool {
    file(name).symlink_metadata().is_ok()
}

/// Opens a namespace of a lab, which must be there.
pub fn open(lab: &Name, name: &str) -> Result<Netns, CommandError> {
    find(lab, name)?.ok_or_else(|| {
        CommandError::Refused(format!(
            "{} is no network namespace of lab {lab}",
            file(name).display()
        ))
    })
}

/// Opens a namespace of a lab; `None` if there is none of that name, or it is another's.
pub fn find(lab: &Name, name: &str) -> Result<Option<Netns>, CommandError> {
    let path = file(name);
    match Netns::open(&path)? {
        Some(netns) if bears_mark(lab, &netns)? => Ok(Some(netns)),
        _ => Ok(None),
    }
}

fn bears_mark(lab: &Name, netns: &Netns) -> Result<bool, CommandError> {
    let lo = netns.run(Netlink::open)??.link("lo")?;
    Ok(lo.and_then(|lo| lo.alias) == Some(mark(lab)))
}

/// Makes a namespace, its `lo` up. An existing one of that name is an error and stays.
pub fn create(lab: &Name, name: &str) -> Result<Netns, CommandError> {
    let path = file(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    options.open(&path).map_err(CommandError::file("create", &path))?;
    let made = thread::scope(|scope| {
        // A thread of its own enters the new namespace and ends there: nothing has to come back.
        scope.spawn(|| furnish(lab, &path)).join()
    });
    let made =
        made.unwrap_or_else(|_| Err(CommandError::Refused(format!("{name}: a thread failed"))));
    if let Err(error) = made {
        // Nothing is mounted on it, or the mount has just failed.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    open(lab, name)
}

/// Makes a namespace in the calling thread and mounts it on the file.
fn furnish(lab: &Name, path: &Path) -> Result<(), CommandError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(CommandError::call("make a network namespace for", path))?;
    let mut kernel = Netlink::open()?;
    if let Some(lo) = kernel.link("lo")? {
        kernel.apply(&lo.dev, &[Change::Alias(mark(lab)), Change::Up])?;
    }
    let none: Option<&str> = None;
    mount(Some(OWN), path, none, MsFlags::MS_BIND, none).map_err(CommandError::call("mount", path))
}

fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// Removes a namespace of this lab, if it is there. Another's of the same name stays: an error.
pub fn remove(lab: &Name, name: &str) -> Result<(), CommandError> {
    let path = file(name);
    match Netns::open(&path)? {
        Some(netns) => {
            if !bears_mark(lab, &netns)? {
                let path = path.display();
                return Err(CommandError::Refused(format!("{path} is not of lab {lab}; it stays")));
            }
            // As ip(8) does: the file is free at once, although others may still look at the mount.
            umount2(&path, MntFlags::MNT_DETACH).map_err(CommandError::call("unmount", &path))?;
        }
        // Between the making of its file and the mount on it a namespace is an empty file.
        None if is_empty_file(&path) => {}
        None => return Ok(()),
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(CommandError::file("remove", &path)),
    }
}
