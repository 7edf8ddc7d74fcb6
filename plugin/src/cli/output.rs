//! What a command says: its text on standard output, complaints on standard error, its exit code.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use serde_json::Value;

use super::error::CommandError;

/// How a command ended; the number is the exit code.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// Done, or nothing wrong.
    Fine = 0,
    /// What was looked at is not as it should be.
    Finding = 1,
    /// Could not do it, could not look, or not understood.
    Failed = 2,
}

impl From<&CommandError> for Outcome {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::Finding(_) => Self::Finding,
            _ => Self::Failed,
        }
    }
}

/// The answer of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output; ends with a newline, or is empty.
    pub text: String,
    /// For the exit code.
    pub outcome: Outcome,
}

impl Answer {
    /// An answer with nothing wrong.
    pub fn fine(text: impl Into<String>) -> Self {
        Self { text: text.into(), outcome: Outcome::Fine }
    }

    /// A document for scripts.
    pub fn json(value: &Value, outcome: Outcome) -> Self {
        Self { text: format!("{value:#}\n"), outcome }
    }

    /// Prints the text, its colours only on a terminal, and not if NO_COLOR is set. A reader that had enough (`| head`) is no failure.
    pub fn print(self) -> Result<Outcome, CommandError> {
        let mut stdout = anstream::stdout().lock();
        match stdout.write_all(self.text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(self.outcome),
            Err(e) => Err(CommandError::file("write", Path::new("standard output"))(e)),
            Ok(()) => Ok(self.outcome),
        }
    }
}

/// How many columns the terminal has to which standard output goes; `None` where it goes elsewhere.
pub fn columns() -> Option<usize> {
    const USUAL: usize = 80;
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    // A terminal that does not know its size says 0.
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    Some(if columns == 0 { USUAL } else { columns.into() })
}

/// Says on standard error what went wrong; where that is closed it goes unsaid.
pub fn complain(what: &dyn Display) {
    flatnet_conf::complain("flatnet", what);
}

/// `node-a, node-b and 8 more`: names enough to look at, however many there are.
pub fn some<T: AsRef<str>>(names: &[T]) -> String {
    const NAMED: usize = 3;
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(some(&["a"]), "a");
        assert_eq!(some(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
