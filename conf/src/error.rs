//! Why an input was refused, and the CNI code that tells the runtime.

use std::path::PathBuf;

/// Error codes of the CNI specification (section "Error"); those from 100 are the plugin's own
/// and belong to the crate that raises them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Code {
    /// The configuration's `cniVersion` is not supported, or does not allow the command.
    IncompatibleVersion = 1,
    /// A field of the configuration is understood but cannot be done.
    UnsupportedField = 2,
    /// The container is unknown, or does not exist.
    UnknownContainer = 3,
    /// An environment variable is missing or wrong, `CNI_ARGS` among them.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// Not JSON.
    Decoding = 6,
    /// The network configuration or the range file breaks a rule.
    InvalidConfig = 7,
    /// `CNI_NETNS` is no network namespace, or is the plugin's own.
    InvalidNetns = 8,
    /// A transient condition: the runtime should try again.
    TryAgain = 11,
    /// The plugin cannot serve ADD.
    Unavailable = 50,
    /// The plugin cannot serve ADD, and running containers may have lost their network.
    UnavailableAffected = 51,
}

/// Why an input was refused. The message says where, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `cniVersion` is not supported, or too old for the command.
    #[error("{0}")]
    Version(String),
    /// An environment variable is missing or wrong.
    #[error("{0}")]
    Environment(String),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Standard input could not be read.
    #[error("cannot read standard input: {0}")]
    Input(std::io::Error),
    /// The text is not JSON; the reason ends with line and column.
    #[error("{origin}: not valid JSON: {reason}")]
    Decode {
        /// The file, or `network configuration`.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// A rule is broken.
    #[error("{}", located(origin, path, problem))]
    Invalid {
        /// The file, or `network configuration`.
        origin: String,
        /// The field, as in `nodes[3].ranges[0].rangeStart`; empty for the whole document.
        path: String,
        /// The value and what is wrong with it.
        problem: String,
    },
    /// No node of the range file, or more than one, is this one.
    #[error("{0}")]
    Node(String),
}

impl Error {
    /// The CNI error code to answer with.
    pub fn code(&self) -> u32 {
        let code = match self {
            Error::Version(_) => Code::IncompatibleVersion,
            Error::Environment(_) => Code::InvalidEnvironment,
            Error::Read { .. } | Error::Input(_) => Code::Io,
            Error::Decode { .. } => Code::Decoding,
            Error::Invalid { .. } | Error::Node(_) => Code::InvalidConfig,
        };
        code as u32
    }

    /// More for the `details` of the CNI error object; empty where the message says it all.
    pub fn details(&self) -> String {
        match self {
            Error::Read { .. } => "rangeFile of the network configuration names this file; it must be there on \
                                   every node, the same on each, or is written by flatnet-agent there"
                .to_owned(),
            _ => String::new(),
        }
    }
}

fn located(origin: &str, path: &str, problem: &str) -> String {
    if path.is_empty() {
        format!("{origin}: {problem}")
    } else {
        format!("{origin}: {path}: {problem}")
    }
}

/// A broken rule on its way up: each level adds its part of the field path, so that paths are
/// only ever put together for the one field that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Broken {
    path: String,
    problem: String,
}

impl Broken {
    /// A rule that the value itself breaks.
    pub(crate) fn new(problem: impl Into<String>) -> Broken {
        Broken { path: String::new(), problem: problem.into() }
    }

    /// The same, seen from the object that holds `field`.
    pub(crate) fn under(mut self, field: impl std::fmt::Display) -> Broken {
        self.path = match self.path.as_str() {
            "" => field.to_string(),
            path if path.starts_with('[') => format!("{field}{path}"),
            path => format!("{field}.{path}"),
        };
        self
    }

    /// The error for the document called `origin`.
    pub(crate) fn in_document(self, origin: impl std::fmt::Display) -> Error {
        Error::Invalid { origin: origin.to_string(), path: self.path, problem: self.problem }
    }
}

impl From<String> for Broken {
    fn from(problem: String) -> Broken {
        Broken::new(problem)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => formatter.write_str(&self.problem),
            path => write!(formatter, "{path}: {}", self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_grows_from_the_inside() {
        let broken = Broken::new("is wrong").under("[0]").under("ranges").under("nodes[3]");
        assert_eq!(broken.to_string(), "nodes[3].ranges[0]: is wrong");
        let error = broken.in_document("/etc/pods.json");
        assert_eq!(error.to_string(), "/etc/pods.json: nodes[3].ranges[0]: is wrong");
        assert_eq!(error.code(), 7);
    }

    #[test]
    fn every_kind_has_its_code() {
        let (origin, path, problem) = (String::new(), String::new(), String::new());
        let read = std::io::Error::from(std::io::ErrorKind::NotFound);
        let cases = [
            (Error::Version(String::new()), 1),
            (Error::Environment(String::new()), 4),
            (Error::Read { path: "/x".into(), source: read }, 5),
            (Error::Decode { origin: origin.clone(), reason: String::new() }, 6),
            (Error::Node(String::new()), 7),
            (Error::Invalid { origin, path, problem }, 7),
        ];
        for (error, code) in cases {
            assert_eq!(error.code(), code, "{error:?}");
        }
    }
}
