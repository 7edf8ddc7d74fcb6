//! What can stop a command for people, and which exit code that is.

use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::KernelError;
use crate::runtime::folder;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// What was looked at breaks a rule: a finding, not a failure to look.
    #[error("{0}")]
    Finding(String),
    /// The request cannot be met; the text says what to ask instead.
    #[error("{0}")]
    Refused(String),
    /// A range file or a result could not be read.
    #[error(transparent)]
    Conf(#[from] flatnet_conf::Error),
    /// Two configurations have one network's name.
    #[error(transparent)]
    SameName(#[from] folder::SameName),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The same that can stop a verb.
    #[error(transparent)]
    Verb(#[from] crate::error::Error),
    /// A file could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A call of the plugin failed; the text is the plugin's own.
    #[error("{command} of pod {pod}: {message}")]
    Plugin {
        /// The verb.
        command: &'static str,
        /// The pod.
        pod: String,
        /// Message and code of the plugin's error object, or how it ended.
        message: String,
    },
    /// The user pressed ^C, or the process was asked to end.
    #[error("interrupted")]
    Interrupted,
}

impl From<folder::Error> for CommandError {
    fn from(error: folder::Error) -> Self {
        match error {
            folder::Error::File { action, path, source } => Self::File { action, path, source },
            folder::Error::Conf(error) => Self::Conf(error),
            folder::Error::SameName(error) => Self::SameName(error),
        }
    }
}

impl CommandError {
    /// For `map_err`: the action on this file failed.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The same for a system call that answers with an errno.
    pub fn call(action: &'static str, path: &Path) -> impl FnOnce(nix::errno::Errno) -> Self {
        let file = Self::file(action, path);
        move |errno| file(errno.into())
    }
}
