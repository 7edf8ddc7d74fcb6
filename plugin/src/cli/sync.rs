//! `flatnet sync`: what should stand in the kernel, and what does.

use clap::Args;
use flatnet_conf::NetworkConf;
use serde_json::{Value, json};

use super::error::Error;
use super::networks::Networks;
use super::output::{Answer, Outcome, complain};
use crate::kernel::Mode;
use crate::sync::{self, Report};

/// More changes than this are counted, not told: they are a new overlay, not a drift.
const TOLD: usize = 30;

/// Make what stands in the kernel what the range files say, with the difference only
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// Only tell the difference, in words close to ip(8); exit code 1 if there is one
    #[arg(long)]
    dry_run: bool,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it, network by network; one that fails does not stop the others.
    pub fn run(self) -> Result<Answer, Error> {
        let mode = if self.dry_run { Mode::Plan } else { Mode::Apply };
        let networks = self.networks.find()?;
        let mut outcome = Outcome::Fine;
        let mut text = String::new();
        let mut documents = Vec::new();
        for conf in &networks {
            match sync::run(conf, mode) {
                Ok(report) => {
                    outcome = outcome.max(judge(&report, mode));
                    report.problems.iter().for_each(|problem| complain(problem));
                    text += &words(conf, &report, mode);
                    documents.push(document(conf, &report));
                }
                Err(error) => {
                    outcome = Outcome::Failed;
                    complain(&format!("network {}: {error}", conf.name));
                    documents.push(json!({ "network": conf.name, "error": error.to_string() }));
                }
            }
        }
        match self.json {
            true => Ok(Answer::json(&json!({ "networks": documents }), outcome)),
            false => Ok(Answer { text, outcome }),
        }
    }
}

fn judge(report: &Report, mode: Mode) -> Outcome {
    match mode {
        _ if !report.problems.is_empty() => Outcome::Failed,
        Mode::Plan if report.count() > 0 => Outcome::Finding,
        _ => Outcome::Fine,
    }
}

/// For people.
fn words(conf: &NetworkConf, report: &Report, mode: Mode) -> String {
    let count = report.count();
    let what = match (count, mode) {
        (0, _) => "in sync".to_owned(),
        (1, Mode::Plan) => "1 change to make".into(),
        (1, Mode::Apply) => "1 change made".into(),
        (_, Mode::Plan) => format!("{count} changes to make"),
        (_, Mode::Apply) => format!("{count} changes made"),
    };
    let mut text = format!("{} on {}: {what}\n", conf.name, report.node);
    if count > TOLD && mode == Mode::Apply {
        return text;
    }
    report.changes.words().for_each(|change| text += &format!("  {change}\n"));
    for (pod, changes) in &report.pods {
        text += &format!("  {pod}:\n");
        changes.words().for_each(|change| text += &format!("    {change}\n"));
    }
    text
}

/// For scripts.
fn document(conf: &NetworkConf, report: &Report) -> Value {
    let pods = report.pods.iter().map(
        |(pod, changes)| json!({ "pod": pod, "changes": changes.words().collect::<Vec<_>>() }),
    );
    json!({
        "network": conf.name,
        "node": report.node,
        "changes": report.changes.words().collect::<Vec<_>>(),
        "pods": pods.collect::<Vec<_>>(),
        "problems": report.problems,
    })
}
