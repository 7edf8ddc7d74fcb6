//! Settings below `/proc/sys`, of the namespace of the thread that opens them.
//!
//! All of a machine's namespaces share the cached names of one proc file system: `eth0` of every pod that
//! was ever looked at is in one chain, which each further opening walks. With two thousand pods that
//! takes longer than all the rest of an ADD. So we open them in a proc file system of our own, which
//! is on no path and goes with this process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Reads a setting. `sysctl KEY`
///
/// # Errors
/// Not found where the kernel has no such setting.
pub fn read(key: &str) -> io::Result<String> {
    let mut text = String::new();
    open(key, OFlags::RDONLY)?.read_to_string(&mut text)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Writes a setting. `sysctl -w KEY=VALUE`
///
/// # Errors
/// As [`read`], and what the kernel says to the value.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    open(key, OFlags::WRONLY)?.write_all(value.as_bytes())
}

fn open(key: &str, access: OFlags) -> io::Result<File> {
    static OWN: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let flags = access | OFlags::CLOEXEC;
    let opened = match OWN.get_or_init(|| mount().ok()) {
        Some(own) => openat(own, format!("sys/{key}"), flags, Mode::empty()),
        // Kernels before 5.8 have one for all, and containers may not have their own.
        None => rustix::fs::open(format!("/proc/sys/{key}"), flags, Mode::empty()),
    };
    Ok(opened?.into())
}

/// `mount -t proc`, but nowhere.
fn mount() -> io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_proc_shows_it() {
        let shown = std::fs::read_to_string("/proc/sys/kernel/ostype").unwrap();
        assert_eq!(read("kernel/ostype").unwrap(), shown.trim_end());
        let error = read("net/ipv4/conf/no-such-device/forwarding").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
