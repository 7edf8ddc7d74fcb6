//! What a run measures: series of samples, one for each round, so that two series of one run can be
//! compared round by round.

use serde::Serialize;
use serde::ser::SerializeStruct as _;

use crate::stats::{median, quantile};

/// Who is measured, as tables and plots call it.
pub const FLATNET: &str = "flatnet";
/// flatnet with `fastPath`.
pub const FAST: &str = "flatnet, fast path";
/// flatnet with it from the uplink on.
pub const UPLINK: &str = "flatnet, from the uplink";

/// The name of a series: of whom, of what, and under which condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// flatnet or a peer.
    pub contender: String,
    /// What is measured, for example `ADD`.
    pub test: String,
    /// Under which condition, for example `2,000 pods`.
    pub case: String,
}

impl Key {
    /// A key from its three parts.
    pub fn new(contender: &str, test: &str, case: impl Into<String>) -> Self {
        Self { contender: contender.to_owned(), test: test.to_owned(), case: case.into() }
    }
}

/// The samples of one key, in the order of the rounds.
#[derive(Clone, Debug)]
pub struct Series {
    /// Of whom, of what.
    pub key: Key,
    /// `ms`, `Gbit/s` ...
    pub unit: &'static str,
    /// One for each round; never empty.
    pub samples: Vec<f64>,
}

impl Series {
    /// The median of the samples.
    pub fn median(&self) -> f64 {
        median(&self.samples)
    }

    /// The 99th percentile of the samples: with fewer than a hundred of them, the largest.
    pub fn p99(&self) -> f64 {
        quantile(&self.samples, 0.99)
    }
}

impl Serialize for Series {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Series", 7)?;
        fields.serialize_field("contender", &self.key.contender)?;
        fields.serialize_field("test", &self.key.test)?;
        fields.serialize_field("case", &self.key.case)?;
        fields.serialize_field("unit", self.unit)?;
        fields.serialize_field("median", &self.median())?;
        fields.serialize_field("p99", &self.p99())?;
        fields.serialize_field("samples", &self.samples)?;
        fields.end()
    }
}

/// Everything that one part of the benchmark found out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// The series, in the order in which they began.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub gaps: Vec<String>,
}

impl Findings {
    /// Adds a sample to its series.
    pub fn push(&mut self, key: &Key, unit: &'static str, sample: f64) {
        assert!(sample.is_finite(), "{key:?}: {sample} {unit}");
        match self.series.iter_mut().find(|series| series.key == *key) {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series { key: key.clone(), unit, samples: vec![sample] }),
        }
    }

    /// The series of a key.
    pub fn series(&self, key: &Key) -> Option<&Series> {
        self.series.iter().find(|series| series.key == *key)
    }

    /// The median over the rounds of what one key has in a round, divided by what the other has in
    /// the same round. None if either was not measured, or too small for its unit.
    pub fn ratio(&self, of: &Key, to: &Key) -> Option<f64> {
        let (of, to) = (self.series(of)?, self.series(to)?);
        let ratios: Vec<f64> = of.samples.iter().zip(&to.samples).map(|(a, b)| a / b).collect();
        Some(median(&ratios)).filter(|ratio| ratio.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        let mut findings = Findings::default();
        let (ours, theirs) = (Key::new(FLATNET, "ADD", ""), Key::new("ptp", "ADD", ""));
        // The machine became ten times slower in the second round, for both.
        for (a, b) in [(1.0, 8.0), (10.0, 80.0), (1.0, 4.0)] {
            findings.push(&ours, "ms", a);
            findings.push(&theirs, "ms", b);
        }
        assert_eq!(findings.ratio(&ours, &theirs), Some(0.125));
        assert_eq!(findings.ratio(&ours, &Key::new("ptp", "DEL", "")), None);
        assert_eq!(findings.series(&theirs).map(Series::median), Some(8.0));
    }
}
