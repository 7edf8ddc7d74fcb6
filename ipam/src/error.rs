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
    /// The environment, the network configuration or the range file is wrong.
    #[error(transparent)]
    Input(#[from] flatnet_conf::Error),
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
    #[error("will not keep leases in {}: {why}; remove it, or set another stateDir or dataDir", .path.display())]
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
    /// Requested addresses for which there is no range set: in none, or in one whose address is
    /// requested already.
    #[error(
        "cannot give the requested addresses {}: request one address of each range set, in its ranges",
        list(.addresses)
    )]
    NoSet {
        /// The addresses left over.
        addresses: Vec<IpAddr>,
    },
    /// A requested address that is the gateway of its range.
    #[error("the requested address {address} is the gateway of its range: request another")]
    Gateway {
        /// The address asked for.
        address: IpAddr,
    },
    /// Every address of a range set is held.
    #[error("no address left in {set}: add a range to this set, or delete attachments")]
    Full {
        /// The ranges of the set.
        set: String,
    },
    /// CHECK: the attachment does not hold what it should.
    #[error("{reason}; delete the attachment and add it again")]
    NotAsMade {
        /// What is missing.
        reason: String,
    },
    /// STATUS: an ADD would fail.
    #[error("addresses cannot be given: {0}")]
    Unavailable(Box<Error>),
    /// Several steps failed; the others were done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
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
    /// configuration, 50 for a STATUS, and flatnet's own 100 (no address left), 101 (requested
    /// address taken) and 105 (not as ADD made it).
    pub fn code(&self) -> u32 {
        match self {
            Error::Input(error) => error.code(),
            Error::Io { .. } | Error::Folder { .. } | Error::Broken { .. } => 5,
            Error::OutOfRanges { .. } | Error::SeveralOfFamily { .. } => 7,
            Error::NoSet { .. } | Error::Gateway { .. } => 7,
            Error::Unavailable(_) => 50,
            Error::Exhausted { .. } | Error::Full { .. } => 100,
            Error::Taken { .. } => 101,
            Error::NotAsMade { .. } => 105,
            Error::Several(errors) => errors.first().map_or(5, Error::code),
        }
    }

    /// The outcome of steps that were all tried.
    pub fn collect(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// For `map_err`: a failed system call, by what was tried and on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}

impl flatnet_conf::Failure for Error {
    fn code(&self) -> u32 {
        Error::code(self)
    }

    fn details(&self) -> String {
        match self {
            Error::Input(error) => error.details(),
            Error::Unavailable(error) => flatnet_conf::Failure::details(error.as_ref()),
            _ => String::new(),
        }
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The kernel's answer with what to do about it, where there is something.
fn said(error: &io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => return "it vanished in between: try again".to_owned(),
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            "free space there or set another stateDir or dataDir"
        }
        Some(Errno::EROFS) => "set stateDir or dataDir to a writable folder",
        Some(Errno::EACCES | Errno::EPERM) => "run as the owner of the folder",
        Some(Errno::ELOOP) => "it is a symbolic link, remove it",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}

#[cfg(test)]
mod tests;
