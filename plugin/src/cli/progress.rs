//! One line on a terminal that says how far a long command is.

use std::io::{self, IsTerminal as _, Write as _};

/// Fewer steps than this are over before one could read of them.
const WORTH_SAYING: usize = 20;

/// The line; it goes away when this is dropped. Quiet where standard error is no terminal.
pub struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    shown: bool,
}

impl Progress {
    /// Begins to count so many of something.
    pub fn new(what: &'static str, total: usize) -> Self {
        let shown = total >= WORTH_SAYING && io::stderr().is_terminal();
        Self { what, total, done: 0, shown }
    }

    /// One more is done.
    pub fn step(&mut self) {
        self.reach(self.done + 1);
    }

    /// So many are done.
    pub fn reach(&mut self, done: usize) {
        self.done = done;
        if self.shown {
            // A terminal that went away has no reader to miss it.
            let _ = write!(io::stderr(), "\r{} {} of {}", self.what, self.done, self.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
