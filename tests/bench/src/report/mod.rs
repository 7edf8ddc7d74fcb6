//! What becomes of the findings: a table on standard output, JSON and SVG in a folder, and a section
//! of a document.

mod document;
mod machine;
mod plot;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bars::Verdict;
use crate::measure::Findings;
pub use document::refresh;
pub use machine::{Machine, module, programs, said};
pub use plot::{Bars, Lines};
pub use table::{markdown, number};

/// What one part of the benchmark reports.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `attach`, `scale`, `datapath`, `fastpath`.
    pub part: &'static str,
    /// What it measured.
    #[serde(flatten)]
    pub findings: Findings,
    /// What it is held to.
    pub bars: Vec<Verdict>,
    /// Its plots: file name, what it shows.
    pub plots: Vec<(String, String)>,
}

impl Report {
    /// The report of a part; its plots are still to be drawn.
    pub fn new(part: &'static str, findings: Findings, bars: Vec<crate::bars::Bar>) -> Self {
        let bars = bars.into_iter().map(|bar| bar.judge(&findings)).collect();
        Self { part, findings, bars, plots: Vec::new() }
    }

    /// Where a plot goes; it is listed from now on.
    pub fn plot(&mut self, folder: &Path, name: &str, shows: &str) -> PathBuf {
        let file = format!("{name}.svg");
        let path = folder.join(&file);
        self.plots.push((file, shows.to_owned()));
        path
    }

    /// Writes `<part>.json`.
    pub fn write(&self, folder: &Path, machine: &Machine) {
        #[derive(Serialize)]
        struct File<'a> {
            machine: &'a Machine,
            #[serde(flatten)]
            report: &'a Report,
        }
        let path = folder.join(format!("{}.json", self.part));
        let text = serde_json::to_string_pretty(&File { machine, report: self }).expect("JSON");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The part's tables.
    pub fn tables(&self) -> String {
        let gaps = self.findings.gaps.iter().map(|gap| format!("- Not measured: {gap}.\n"));
        format!("{}\n{}", table::findings(&self.findings), gaps.collect::<String>())
    }
}

/// The bars of all parts in one table.
pub fn verdicts(reports: &[Report]) -> String {
    let all: Vec<Verdict> = reports.iter().flat_map(|report| report.bars.clone()).collect();
    table::verdicts(&all)
}

/// The section of the document: bars first, then each part with its plots; these lie in `plots`,
/// seen from the document.
pub fn section(reports: &[Report], machine: &Machine, plots: &str) -> String {
    let part = |report: &Report| {
        let plots =
            report.plots.iter().map(|(file, shows)| format!("![{shows}]({plots}/{file})\n\n"));
        let title = report.part;
        format!("## {title}\n\n{}{}\n", plots.collect::<String>(), report.tables())
    };
    format!(
        "## Bars\n\nMedians of the ratios of all rounds.\n\n{}\n\
         {machine}\n{}",
        verdicts(reports),
        reports.iter().map(part).collect::<String>()
    )
}
