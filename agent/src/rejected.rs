//! Objects of the cluster that are left out, and why.

use std::fmt;

/// What kind of rule an object breaks: few words, so that a metric can have one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It cannot be read.
    Malformed,
    /// An older one has what it has.
    Taken,
    /// Its VTEP is of the other family than the oldest.
    Family,
    /// A range outside of the cluster's, or a VTEP inside.
    Place,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Malformed, Self::Taken, Self::Family, Self::Place];

    /// For filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Taken => "taken",
            Self::Family => "family",
            Self::Place => "place",
        }
    }
}

/// An object that is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// `node` or `block`.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// The node that it is about, as it says.
    pub node: String,
    /// Which kind of rule.
    pub reason: Reason,
    /// Which value, and what is wrong with it.
    pub problem: String,
}

/// `block 10-1-2-0-24 is left out: "10.1.2.0/24" overlaps 10.1.0.0/16 of node-a, which is older`
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, problem, .. } = self;
        write!(f, "{kind} {name} is left out: {problem}")
    }
}
