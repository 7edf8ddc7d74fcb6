//! `flatnet sync`: what should stand in the kernel, and what does.

use std::collections::BTreeMap;
use std::{io, mem};

use clap::Args;
use flatnet_conf::NetworkConf;
use serde_json::{Value, json};

use super::error::CommandError;
use super::networks::Networks;
use super::notify;
use super::output::{Answer, Outcome, complain};
use super::progress::Progress;
use super::synced::{apply, leases, run, words};
use crate::kernel::Mode;
use crate::upkeep::sync::SyncReport;
use crate::upkeep::{Looked, Upkeep};

/// Make what stands in the kernel what the range files say, with the difference only
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// Only tell the difference, in words close to ip(8); exit code 1 if there is one
    #[arg(long)]
    dry_run: bool,
    /// Go on, and do it again whenever a range file, a configuration or the kernel changes
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it, network by network; one that fails does not stop the others.
    pub fn run(self) -> Result<Answer, CommandError> {
        if self.watch {
            return self.keep();
        }
        let mode = if self.dry_run { Mode::Plan } else { Mode::Apply };
        let (networks, outcome) = self.networks.usable()?;
        let mut pass = Pass::over(&networks, mode);
        pass.outcome = pass.outcome.max(outcome);
        pass.complaints.iter().for_each(|complaint| complain(complaint));
        Ok(self.answer(pass))
    }

    /// Does it again and again; tells what was changed, and a complaint once.
    fn keep(&self) -> Result<Answer, CommandError> {
        let refused = |e: io::Error| CommandError::Refused(e.to_string());
        // Listened to before it is looked at: no change falls between the two.
        let mut upkeep = Upkeep::new().map_err(refused)?;
        let mut known = Complaints::default();
        let mut first = true;
        loop {
            if upkeep.wants_configurations() {
                let (networks, problems) = self.networks.look();
                known.about("", problems.iter().map(ToString::to_string).collect());
                upkeep.tend(networks, self.networks.places()).map_err(refused)?;
            }
            let mut pass = Pass::new();
            let mut progress = None;
            let mut listener = move |made, all| {
                progress.get_or_insert_with(|| Progress::new("change", all)).reach(made);
            };
            upkeep.look(&mut listener, &mut |looked| {
                let Looked { network: conf, outcome, whole } = looked;
                if let Ok(report) = &outcome {
                    report.log(&conf.name);
                }
                pass.add(conf, outcome, Mode::Apply);
                let complaints = mem::take(&mut pass.complaints);
                if whole {
                    known.about(&conf.name, complaints);
                } else {
                    known.more_about(&conf.name, complaints);
                }
            });
            if pass.changed {
                // Where nothing can be written, a full disk for one, the network is kept all the same.
                if let Err(error) = self.answer(pass).print() {
                    complain(&error);
                }
            }
            if mem::take(&mut first) {
                notify::ready();
            }
            upkeep.wait().map_err(refused)?;
        }
    }

    fn answer(&self, pass: Pass) -> Answer {
        match self.json {
            true => Answer::json(&json!({ "networks": pass.documents }), pass.outcome),
            false => Answer { text: pass.text, outcome: pass.outcome },
        }
    }
}

/// What was complained of, network by network: it is told once.
#[derive(Default)]
struct Complaints(BTreeMap<String, Vec<String>>);

impl Complaints {
    /// These are all about a network.
    fn about(&mut self, network: &str, complaints: Vec<String>) {
        if self.0.get(network).is_none_or(|known| *known != complaints) {
            complaints.iter().for_each(|complaint| complain(complaint));
            self.0.insert(network.to_owned(), complaints);
        }
    }

    /// These are some.
    fn more_about(&mut self, network: &str, complaints: Vec<String>) {
        let known = self.0.entry(network.to_owned()).or_default();
        for complaint in complaints {
            if !known.contains(&complaint) {
                complain(&complaint);
                known.push(complaint);
            }
        }
    }
}

/// What came of going over the networks once.
struct Pass {
    outcome: Outcome,
    /// Whether anything was changed.
    changed: bool,
    text: String,
    documents: Vec<Value>,
    complaints: Vec<String>,
}

impl Pass {
    fn new() -> Self {
        let (text, documents, complaints) = (String::new(), Vec::new(), Vec::new());
        Self { outcome: Outcome::Fine, changed: false, text, documents, complaints }
    }

    fn over(networks: &[NetworkConf], mode: Mode) -> Self {
        let mut pass = Self::new();
        for conf in networks {
            let looked = match mode {
                Mode::Apply => apply(conf),
                // What only might be done is not for the log.
                Mode::Plan => run(conf, mode),
            };
            pass.add(conf, looked, mode);
        }
        pass
    }

    fn add(
        &mut self,
        conf: &NetworkConf,
        looked: Result<SyncReport, crate::error::Error>,
        mode: Mode,
    ) {
        match looked {
            Ok(report) => {
                self.outcome = self.outcome.max(judge(&report, mode));
                self.changed |= report.count() > 0;
                self.text += &words(conf, &report, mode);
                self.documents.push(document(conf, &report));
                self.complaints.extend(report.problems.into_iter().chain(report.warnings));
            }
            Err(error) => {
                self.outcome = Outcome::Failed;
                self.documents.push(json!({ "network": conf.name, "error": error.to_string() }));
                self.complaints.push(format!("network {}: {error}", conf.name));
            }
        }
    }
}

fn judge(report: &SyncReport, mode: Mode) -> Outcome {
    match mode {
        _ if !report.problems.is_empty() => Outcome::Failed,
        Mode::Plan if report.count() > 0 => Outcome::Finding,
        _ => Outcome::Fine,
    }
}

/// For scripts.
fn document(conf: &NetworkConf, report: &SyncReport) -> Value {
    let pods = report.pods.iter().map(|pod| {
        let changes: Vec<_> = pod.changes.words().collect();
        json!({ "pod": pod.to_string(), "changes": changes })
    });
    json!({
        "network": conf.name,
        "node": report.node,
        "changes": report.changes.words().collect::<Vec<_>>(),
        "pods": pods.collect::<Vec<_>>(),
        "leases": leases(report).collect::<Vec<_>>(),
        "unfinished": report.books.unfinished.iter().map(|end| &end.dev.name).collect::<Vec<_>>(),
        "unleased": report.unleased,
        "problems": report.problems,
        "warnings": report.warnings,
    })
}
