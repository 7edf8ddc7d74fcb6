//! What the doctor says.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use flatnet_conf::printable;
use serde_json::{Value, json};

use crate::cli::finding::{Finding, Mend};
use crate::cli::output::{Answer, Outcome};

/// All sections.
#[derive(Default)]
pub struct DoctorReport {
    /// The node itself, then each network.
    pub sections: Vec<Section>,
}

/// The checks of one thing.
pub struct Section {
    /// What was checked.
    pub title: String,
    checks: Vec<(&'static str, Checked)>,
}

enum Checked {
    Found(Vec<Finding>),
    /// It could not be looked at: why.
    Failed(String),
}

impl Section {
    /// A section without checks.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), checks: Vec::new() }
    }

    /// Notes how a check ended.
    pub fn record<E: Display>(&mut self, check: &'static str, result: Result<Vec<Finding>, E>) {
        match result {
            Ok(findings) => self.found(check, findings),
            Err(error) => self.failed(check, &error),
        }
    }

    /// Notes what a check found.
    pub fn found(&mut self, check: &'static str, findings: Vec<Finding>) {
        self.checks.push((check, Checked::Found(findings)));
    }

    /// Notes that a check could not look.
    pub fn failed(&mut self, check: &'static str, why: &dyn Display) {
        self.checks.push((check, Checked::Failed(why.to_string())));
    }
}

impl DoctorReport {
    /// As text or as a document.
    pub fn answer(&self, json: bool) -> Answer {
        match json {
            true => Answer::json(&self.json(), self.outcome()),
            false => Answer { text: self.text(), outcome: self.outcome() },
        }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &'static str, &Checked)> {
        self.sections.iter().flat_map(|section| {
            section.checks.iter().map(|(name, checked)| (&section.title[..], *name, checked))
        })
    }

    fn findings(&self) -> impl Iterator<Item = (&str, &'static str, &Finding)> {
        self.all().flat_map(|(section, name, checked)| {
            let findings = match checked {
                Checked::Found(findings) => &findings[..],
                Checked::Failed(_) => &[],
            };
            findings.iter().map(move |finding| (section, name, finding))
        })
    }

    fn failures(&self) -> impl Iterator<Item = (&str, &'static str, &str)> {
        self.all().filter_map(|(section, name, checked)| match checked {
            Checked::Failed(why) => Some((section, name, &why[..])),
            Checked::Found(_) => None,
        })
    }

    /// What could not be looked at may hide anything, so it weighs more than a finding.
    fn outcome(&self) -> Outcome {
        if self.failures().next().is_some() {
            Outcome::Failed
        } else if self.findings().next().is_some() {
            Outcome::Finding
        } else {
            Outcome::Fine
        }
    }

    fn text(&self) -> String {
        let (good, bad) = (colour(AnsiColor::Green), colour(AnsiColor::Red).bold());
        let mut text = String::new();
        for section in &self.sections {
            text += &format!("{}\n", printable(&section.title));
            for (name, checked) in &section.checks {
                match checked {
                    Checked::Found(findings) if findings.is_empty() => {
                        text += &format!("  {good}ok{good:#}       {name}\n");
                    }
                    Checked::Found(findings) => findings.iter().for_each(|finding| {
                        text += &format!(
                            "  {bad}finding{bad:#}  {name}: {}\n",
                            printable(&finding.what)
                        );
                        text += &format!("           why: {}\n", printable(&finding.why));
                        text += &match &finding.mend {
                            Mend::Run(command) => {
                                format!("           run: {}\n", printable(command))
                            }
                            Mend::Do(advice) => format!("           do:  {}\n", printable(advice)),
                        };
                    }),
                    Checked::Failed(why) => {
                        text += &format!("  {bad}failed{bad:#}   {name}: {}\n", printable(why));
                    }
                }
            }
        }
        text + &self.count()
    }

    fn count(&self) -> String {
        let checks = self.all().count();
        let failed = match self.failures().count() {
            0 => String::new(),
            failed => format!(", {failed} could not look"),
        };
        match self.findings().count() {
            0 => format!("no finding in {checks} checks{failed}\n"),
            1 => format!("1 finding in {checks} checks{failed}\n"),
            many => format!("{many} findings in {checks} checks{failed}\n"),
        }
    }

    fn json(&self) -> Value {
        let findings = self.findings().map(|(section, check, finding)| {
            let mut document = finding.json();
            document["section"] = section.into();
            document["check"] = check.into();
            document
        });
        let failures = self.failures().map(
            |(section, check, why)| json!({ "section": section, "check": check, "error": why }),
        );
        json!({
            "findings": findings.collect::<Vec<_>>(),
            "failures": failures.collect::<Vec<_>>(),
            "checks": self.all().count(),
        })
    }
}

fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn every_finding_has_its_reason_and_its_mend() {
        let mut host = Section::new("this node");
        host.found("chain", vec![]);
        let mut network = Section::new("network pods on a");
        network.found(
            "drift",
            vec![
                Finding::run("a route is missing", "no pod reaches b", "flatnet sync"),
                Finding::advise("b is dead", "its pods are gone", "bring b back"),
            ],
        );
        let mut report = DoctorReport { sections: vec![host, network] };
        assert_eq!(
            plain(&report.text()),
            "this node\n\
             \x20 ok       chain\n\
             network pods on a\n\
             \x20 finding  drift: a route is missing\n\
             \x20          why: no pod reaches b\n\
             \x20          run: flatnet sync\n\
             \x20 finding  drift: b is dead\n\
             \x20          why: its pods are gone\n\
             \x20          do:  bring b back\n\
             2 findings in 2 checks\n"
        );
        assert_eq!(report.outcome(), Outcome::Finding);
        assert_eq!(
            report.json()["findings"][0],
            json!({ "section": "network pods on a", "check": "drift", "what": "a route is missing",
                    "why": "no pod reaches b", "command": "flatnet sync", "advice": null })
        );

        report.sections[0].failed("kernel", &"no permission");
        assert_eq!(report.outcome(), Outcome::Failed);
        assert!(plain(&report.text()).ends_with("2 findings in 3 checks, 1 could not look\n"));
        assert_eq!(report.json()["failures"][0]["error"], "no permission");
    }

    #[test]
    fn nothing_wrong_is_said_too() {
        let mut host = Section::new("this node");
        host.found("chain", vec![]);
        let report = DoctorReport { sections: vec![host] };
        assert!(report.text().ends_with("no finding in 1 checks\n"));
        assert_eq!(report.outcome(), Outcome::Fine);
    }
}
