//! What flatnet is held to: ratios between two series of one run.

use serde::Serialize;

use crate::measure::{Findings, Key};

/// Which side of a number a ratio must be on.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// Smaller is better.
    AtMost(f64),
    /// Larger is better.
    AtLeast(f64),
}

/// One bar.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// What it says.
    pub text: String,
    /// What is compared ...
    pub of: Key,
    /// ... with what.
    pub to: Key,
    /// And how it must turn out.
    pub limit: Limit,
}

/// A bar and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The bar.
    pub bar: Bar,
    /// The median of the rounds' ratios; none if one of the two could not be measured.
    pub ratio: Option<f64>,
    /// Whether it holds.
    pub met: bool,
}

impl Bar {
    /// A bar from its parts.
    pub fn new(text: &str, of: Key, to: Key, limit: Limit) -> Self {
        Self { text: text.to_owned(), of, to, limit }
    }

    /// Holds the bar to what was measured.
    pub fn judge(self, findings: &Findings) -> Verdict {
        let ratio = findings.ratio(&self.of, &self.to);
        let met = ratio.is_some_and(|ratio| match self.limit {
            Limit::AtMost(most) => ratio <= most,
            Limit::AtLeast(least) => ratio >= least,
        });
        Verdict { bar: self, ratio, met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_met() {
        let (a, b) = (Key::new("a", "ADD", ""), Key::new("b", "ADD", ""));
        let mut findings = Findings::default();
        findings.push(&a, "ms", 2.0);
        let bar = |limit| Bar::new("", a.clone(), b.clone(), limit);
        assert!(!bar(Limit::AtMost(1.0)).judge(&findings).met);
        findings.push(&b, "ms", 4.0);
        assert!(bar(Limit::AtMost(0.5)).judge(&findings).met);
        assert!(!bar(Limit::AtMost(0.4)).judge(&findings).met);
        assert!(bar(Limit::AtLeast(0.5)).judge(&findings).met);
        assert!(!bar(Limit::AtLeast(0.6)).judge(&findings).met);
    }
}
