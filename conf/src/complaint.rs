//! What went wrong, for whoever called.

use std::fmt::Display;
use std::io::{Write as _, stderr};

use crate::one_line;

/// Says on standard error what went wrong, behind the program's name; where that is closed or full it goes unsaid,
/// where `eprintln!` would panic.
pub fn complain(program: &str, what: &dyn Display) {
    let _ = writeln!(stderr(), "{program}: {}", one_line(&what.to_string()));
}
