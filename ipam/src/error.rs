//! What can go wrong with leases, and the CNI code that each failure bears.
//!
//! The texts never contain "not found" or "no such file or directory": containerd takes an error
//! of DEL with these words for success, and a real failure would pass unseen.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The result of everything that touches leases.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a lease could not be given, read or taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on the state folder failed.
    #[error("cannot {action} {}: {}", .path.display(), said(.source))]
    Io {
        /// What was tried, as a verb: "lock", "create the folder".
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The state folder cannot be trusted with leases.
    #[error("will not keep leases in {}: {why}; remove it or set another stateDir", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file in the place of a lease does not hold one.
    #[error("{} is not a lease: {why}; GC removes it when no pod uses its address", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A requested address that no range of the node gives to pods.
    #[error(
        "the requested address {address} is not one that node {node} gives to pods: choose one of {ranges}"
    )]
    OutOfRanges {
        /// The address asked for.
        address: IpAddr,
        /// The node's name in the range file.
        node: String,
        /// The node's ranges.
        ranges: String,
    },
    /// Two requested addresses of one family.
    #[error(
        "cannot give both requested addresses {first} and {second}: request one address of each family"
    )]
    SeveralOfFamily {
        /// The first one asked for.
        first: IpAddr,
        /// The other one.
        second: IpAddr,
    },
    /// A requested address that another attachment holds.
    #[error(
        "the requested address {address} is taken by {holder}: request another, or delete that one"
    )]
    Taken {
        /// The address asked for.
        address: IpAddr,
        /// Who holds it.
        holder: String,
    },
    /// Every address of the node's ranges of one family is held by a living attachment.
    #[error("no address left for a pod on node {node} in {ranges}: add a range to this node")]
    Exhausted {
        /// The node's name in the range file.
        node: String,
        /// The ranges that are full.
        ranges: String,
    },
}

impl Error {
    /// The code of a CNI error: 5 for input and output, 7 for a request against the
    /// configuration, and flatnet's own 100 (no address left) and 101 (requested address taken).
    pub fn code(&self) -> u32 {
        match self {
            Error::Io { .. } | Error::Folder { .. } | Error::Broken { .. } => 5,
            Error::OutOfRanges { .. } | Error::SeveralOfFamily { .. } => 7,
            Error::Exhausted { .. } => 100,
            Error::Taken { .. } => 101,
        }
    }

    /// For `map_err`: a failed system call, by what was tried and on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}

/// The kernel's answer with what to do about it, where there is something.
fn said(error: &io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => return "it vanished in between: try again".to_owned(),
        Some(Errno::ENOSPC | Errno::EDQUOT) => "free space there or set another stateDir",
        Some(Errno::EROFS) => "set stateDir to a writable folder",
        Some(Errno::EACCES | Errno::EPERM) => "run as the owner of the folder",
        Some(Errno::ELOOP) => "it is a symbolic link, remove it",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(errno: Errno) -> Error {
        Error::io("lock", Path::new("/run/flatnet/pods/node-a/lock"))(errno.into())
    }

    #[test]
    fn every_failure_says_what_and_why_and_has_its_code() {
        let address = IpAddr::from([10, 244, 1, 5]);
        let second = IpAddr::from([10, 244, 1, 6]);
        let (node, ranges) = ("node-a".to_owned(), "10.244.1.0/24".to_owned());
        let cases = [
            (
                io(Errno::ENOSPC),
                5,
                "cannot lock /run/flatnet/pods/node-a/lock: No space left on device (os error 28): \
                 free space there or set another stateDir",
            ),
            (
                io(Errno::EROFS),
                5,
                "cannot lock /run/flatnet/pods/node-a/lock: Read-only file system (os error 30): \
                 set stateDir to a writable folder",
            ),
            (
                io(Errno::EIO),
                5,
                "cannot lock /run/flatnet/pods/node-a/lock: Input/output error (os error 5)",
            ),
            (
                Error::Folder { path: "/run/flatnet".into(), why: "it is a symbolic link" },
                5,
                "will not keep leases in /run/flatnet: it is a symbolic link; remove it or set \
                 another stateDir",
            ),
            (
                Error::OutOfRanges { address, node: node.clone(), ranges: ranges.clone() },
                7,
                "the requested address 10.244.1.5 is not one that node node-a gives to pods: \
                 choose one of 10.244.1.0/24",
            ),
            (
                Error::SeveralOfFamily { first: address, second },
                7,
                "cannot give both requested addresses 10.244.1.5 and 10.244.1.6: request one \
                 address of each family",
            ),
            (
                Error::Taken { address, holder: "eth0 of container c1".to_owned() },
                101,
                "the requested address 10.244.1.5 is taken by eth0 of container c1: request \
                 another, or delete that one",
            ),
            (
                Error::Exhausted { node, ranges },
                100,
                "no address left for a pod on node node-a in 10.244.1.0/24: add a range to this \
                 node",
            ),
        ];
        for (error, code, text) in cases {
            assert_eq!((error.code(), error.to_string().as_str()), (code, text));
        }
    }

    #[test]
    fn a_missing_path_never_reads_as_success_to_containerd() {
        let text = io(Errno::ENOENT).to_string().to_lowercase();
        assert!(!text.contains("not found") && !text.contains("no such file"), "{text}");
    }
}
