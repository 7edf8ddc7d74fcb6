//! What can fail in a verb, and the CNI code each failure has: the one place that maps them.

use flatnet_conf::Code;

use crate::author::Author;
use crate::kernel::KernelError;

/// flatnet's own CNI error codes (from 100), beside those of the leases (100 and 101).
pub mod code {
    /// No address is left, as the leases say it themselves where an operator writes the range file.
    pub const FULL: u32 = 100;
    /// The pod already has an interface of that name: another program's, or this attachment's own.
    pub const INTERFACE_EXISTS: u32 = 102;
    /// The kernel refused what was asked of it.
    pub const KERNEL: u32 = 103;
    /// CHECK found that an attachment is not as it was made.
    pub const NOT_AS_MADE: u32 = 105;
    /// A device or rule that is not ours is where ours must be.
    pub const FOREIGN: u32 = 104;
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment, the network configuration or the range file is wrong.
    #[error(transparent)]
    Input(#[from] flatnet_conf::Error),
    /// What is configured cannot work on this node.
    #[error("{reason}")]
    Configuration {
        /// What and why.
        reason: String,
    },
    /// No lease could be had or given back.
    #[error(transparent)]
    Lease(#[from] flatnet_ipam::Error),
    /// The IPAM plugin that addresses come from failed: its own words and code.
    #[error("{message}")]
    Delegate {
        /// Its code.
        code: u32,
        /// Its message.
        message: String,
        /// Its details.
        details: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// `CNI_NETNS` is not a namespace a pod can live in.
    #[error("CNI_NETNS={path}: {reason}")]
    Netns {
        /// What was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The interface is there already and another program's.
    #[error("{ifname} already exists in {netns} and was not made by this attachment; it stays")]
    InterfaceExists {
        /// Its name.
        ifname: String,
        /// Where.
        netns: String,
    },
    /// The attachment that an ADD was to make stands finished.
    #[error(
        "{ifname} of this container is attached already, by {veth} on the node; DEL comes before the next ADD"
    )]
    Attached {
        /// `CNI_IFNAME`.
        ifname: String,
        /// The node's end of the veth pair.
        veth: String,
    },
    /// The range file was changed while an attachment was made.
    #[error("{what}, because the range file was changed meanwhile; try again")]
    Changed {
        /// What does not hold any more.
        what: String,
    },
    /// Something of another program is in the way.
    #[error("{reason}")]
    Foreign {
        /// What and what to do.
        reason: String,
    },
    /// Something else has what this network is to have.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// Every address of the node's ranges of one family is held, and no operator gives it others.
    #[error("no address left for a pod on node {node} in {ranges}: {mend}")]
    Full {
        /// The node's name.
        node: String,
        /// The ranges that are full.
        ranges: String,
        /// What to do.
        mend: String,
    },
    /// CHECK found differences.
    #[error("{}", .problems.join("; "))]
    NotAsMade {
        /// Which object is wrong, and how.
        problems: Vec<String>,
    },
    /// STATUS: an ADD would fail.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// Whether pods that are attached already have lost their network too.
        pods_affected: bool,
    },
    /// A file of ours could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Several steps of a DEL failed; the others were done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

/// Something else has what this network is to have: either of the two can be another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {}", self.mend())]
pub struct Clash {
    /// What has it.
    what: String,
    /// What this network could have instead: "give this network another vni".
    instead: &'static str,
    /// What else could be done.
    or: String,
    author: Author,
}

impl Clash {
    /// One that an operator is told of.
    pub fn new(what: String, instead: &'static str, or: impl Into<String>) -> Self {
        Self { what, instead, or: or.into(), author: Author::Operator }
    }

    /// One that is told of where this is who writes the range file.
    pub fn beside(self, author: Author) -> Self {
        Self { author, ..self }
    }

    /// What has it.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do.
    pub fn mend(&self) -> String {
        let Self { instead, or, author, .. } = self;
        format!("{}, or {or}", author.setting(&format!("{instead} in"), "the range file"))
    }
}

/// For what goes on when a part of it fails: all that failed, after everything was tried.
///
/// # Errors
/// The words of each.
pub fn all(outcomes: impl IntoIterator<Item = Result<(), String>>) -> Result<(), String> {
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

impl flatnet_conf::Failure for Error {
    fn code(&self) -> u32 {
        Error::code(self)
    }

    fn details(&self) -> String {
        Error::details(self)
    }
}

impl Error {
    /// The code of the specification's error result (CNI 1.1.0, section 5), or one of ours.
    pub fn code(&self) -> u32 {
        match self {
            Self::Input(e) => e.code(),
            Self::Configuration { .. } => Code::InvalidConfig as u32,
            Self::Lease(e) => e.code(),
            Self::Delegate { code, .. } => *code,
            Self::Kernel(_) => code::KERNEL,
            Self::Netns { .. } => Code::InvalidNetns as u32,
            Self::InterfaceExists { .. } | Self::Attached { .. } => code::INTERFACE_EXISTS,
            Self::Foreign { .. } | Self::Clash(_) => code::FOREIGN,
            Self::Full { .. } => code::FULL,
            Self::Changed { .. } => Code::TryAgain as u32,
            Self::NotAsMade { .. } => code::NOT_AS_MADE,
            Self::Unavailable { pods_affected: false, .. } => Code::Unavailable as u32,
            Self::Unavailable { pods_affected: true, .. } => Code::UnavailableAffected as u32,
            Self::File { .. } => Code::Io as u32,
            Self::Several(errors) => errors.first().map_or(Code::Io as u32, Self::code),
        }
    }

    /// More about it, where there is more to say.
    pub fn details(&self) -> String {
        match self {
            Self::Input(e) => e.details(),
            Self::Delegate { details, .. } => details.clone(),
            _ => String::new(),
        }
    }

    /// The outcome of steps that were all tried.
    pub fn collect(errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => errors.into_iter().next().map_or(Ok(()), Err),
            _ => Err(Error::Several(errors)),
        }
    }
}
