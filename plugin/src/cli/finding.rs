//! What is wrong, why that matters, and what mends it.

use serde_json::{Value, json};

pub use crate::cli::output::some;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, on which object.
    pub what: String,
    /// What comes of it.
    pub why: String,
    /// What to do.
    pub mend: Mend,
}

/// How a finding is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// By this command, on this node.
    Run(String),
    /// By a person: what a command cannot know or reach.
    Do(String),
}

impl Finding {
    /// One that a command mends.
    pub fn run(what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), mend: Mend::Run(mend.into()) }
    }

    /// One that a person mends.
    pub fn advise(
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), why: why.into(), mend: Mend::Do(mend.into()) }
    }

    /// In one line: what is wrong and what to do.
    pub fn words(&self) -> String {
        let (Mend::Run(mend) | Mend::Do(mend)) = &self.mend;
        format!("{}; {mend}", self.what)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let (command, advice) = match &self.mend {
            Mend::Run(command) => (Some(command), None),
            Mend::Do(advice) => (None, Some(advice)),
        };
        json!({ "what": self.what, "why": self.why, "command": command, "advice": advice })
    }
}
