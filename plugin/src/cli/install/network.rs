//! The network brought up before a runtime hears of it.

use std::io::ErrorKind;
use std::path::Path;

use flatnet_conf::{Error as Input, NetworkConf};

use crate::author::Author;
use crate::cli::error::CommandError;
use crate::cli::synced;
use crate::error::Error as Verb;
use crate::kernel::Mode;
use crate::overlay::agent::author;

/// What came of it.
#[derive(Debug)]
pub enum Brought {
    /// The overlay stands.
    Up {
        /// What was changed for that.
        summary: String,
        /// Pods that could not be looked at or put right.
        problems: Vec<String>,
    },
    /// No range file lists this node so far; and what to do about it.
    Awaited(String),
}

/// Does what `flatnet sync` does.
///
/// # Errors
/// What keeps it from standing, and that therefore `configuration` was not written.
pub fn bring_up(conf: &NetworkConf, configuration: &Path) -> Result<Brought, CommandError> {
    match synced::apply(conf) {
        Ok(report) => Ok(Brought::Up {
            summary: synced::summary(conf, &report, Mode::Apply),
            problems: report.problems,
        }),
        Err(error) => awaited(&error, author(conf)).map(Brought::Awaited).ok_or_else(|| {
            let what = match configuration.exists() {
                true => "stays as it is",
                false => "was not put in place, for a runtime would call this node ready",
            };
            let (network, file) = (&conf.name, configuration.display());
            CommandError::Refused(format!(
                "network {network} cannot be brought up: {error}; {file} {what}"
            ))
        }),
    }
}

/// Whether this is merely not a node yet.
fn awaited(error: &Verb, author: Author) -> Option<String> {
    match error {
        Verb::Input(Input::Read { path, source }) if source.kind() == ErrorKind::NotFound => {
            let path = path.display().to_string();
            Some(format!("range file {path} is not there: {}", author.first(&path)))
        }
        Verb::Input(Input::Node(words)) => Some(format!("{words}; then do this again")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_will_come_is_told_from_what_is_wrong() {
        let read = |kind: ErrorKind| {
            Verb::from(Input::Read { path: "/etc/pods.json".into(), source: io::Error::from(kind) })
        };
        let awaited = |error: &Verb| awaited(error, Author::Operator);
        assert_eq!(
            awaited(&read(ErrorKind::NotFound)).unwrap(),
            "range file /etc/pods.json is not there: see `flatnet ranges init --help`, then do \
             this again"
        );
        let unlisted = Verb::from(Input::Node("no node is named \"a\"".into()));
        assert_eq!(awaited(&unlisted).unwrap(), "no node is named \"a\"; then do this again");
        let wrong = Input::Decode { origin: "/etc/pods.json".into(), reason: "eof".into() };
        for error in [read(ErrorKind::PermissionDenied), Verb::from(wrong)] {
            assert_eq!(awaited(&error), None, "{error}");
        }
    }
}
