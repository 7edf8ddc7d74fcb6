//! What can go wrong between us and the kernel.

use nix::errno::Errno;

use super::nft::NftError;

/// A request that the kernel refused or that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel answered with an error.
    #[error("{request}: {} (errno {}){}", .errno.desc(), *.errno as i32, said(.extended))]
    Refused {
        /// What was asked, in the words of ip(8).
        request: String,
        /// Its answer.
        errno: Errno,
        /// Its words, where it had any (`NLMSGERR_ATTR_MSG`).
        extended: Option<String>,
    },
    /// The socket failed.
    #[error("netlink: cannot {action} the socket: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel's answer is not one we understand.
    #[error("netlink: the answer to `{request}` cannot be read: {reason}")]
    Answer {
        /// What was asked.
        request: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The packet filter could not be read or changed.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// A setting of `/proc/sys` could not be read or written.
    #[error("cannot {action} /proc/sys/{key}: {source}; is /proc/sys mounted read-only?")]
    Sysctl {
        /// What was tried.
        action: &'static str,
        /// Its path below `/proc/sys`, and the value to be written.
        key: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A network namespace could not be entered.
    #[error("cannot {action} network namespace {path}: {source}")]
    Netns {
        /// What was tried.
        action: &'static str,
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl KernelError {
    /// The kernel's errno, if it answered with one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn said(extended: &Option<String>) -> String {
    extended.as_ref().map(|text| format!(", kernel: {text}")).unwrap_or_default()
}
