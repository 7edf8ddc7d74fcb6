//! Names of labs. They become parts of paths and of namespaces' names, so the rule is strict.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Room for what follows in the names of namespaces, and for people to read them.
const LONGEST: usize = 20;

/// A lab's name: 1 to 20 lower-case letters, digits and inner hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let short = (1..=LONGEST).contains(&text.len());
        if short && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("use 1 to {LONGEST} of a-z, 0-9 and -, and no - at either end"))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_in_a_path() {
        for good in ["lab", "a", "my-lab-2", "0", "abcdefghijklmnopqrst"] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", ".", "..", "a/b", "a b", "-a", "a-", "A", "é", "a.b", "abcdefghijklmnopqrstu"]
        {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
