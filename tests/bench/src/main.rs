//! The benchmark: flatnet and its peers, alternately, in one run on one machine.
//!
//! Four parts, each with a folder of its own: what it takes to attach a pod, what it takes to apply
//! a range file, what a packet costs, and what it costs on the fast path by other measures. `report` turns what they find into tables, plots and the
//! generated section of `docs/performance.md`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use flatnet_bench::extent::Extent;
use flatnet_bench::progress::{Interrupted, Progress};
use flatnet_bench::report::{self, Machine, Report};
use flatnet_bench::{attach, datapath, fastpath, scale, scratch};

/// Runs flatnet and its peers alternately; prints medians, p99 and ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which parts; all of them if none is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Only as much as shows that it works; the figures mean nothing
    #[arg(long)]
    short: bool,
    /// Where JSON and SVG go
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    output: PathBuf,
    /// The document whose generated section is written again; its plots go into a folder beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Attach,
    Scale,
    Datapath,
    Fastpath,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::start();
    scratch::use_memory();
    match catch_unwind(AssertUnwindSafe(|| run(&arguments, &progress))) {
        Ok(()) => ExitCode::SUCCESS,
        // What a shell reports for SIGINT.
        Err(payload) if payload.is::<Interrupted>() => ExitCode::from(130),
        Err(payload) => resume_unwind(payload),
    }
}

fn run(arguments: &Arguments, progress: &Progress) {
    let machine = Machine::look(report::programs());
    let extent = if arguments.short { Extent::short() } else { Extent::full() };
    let folder = &arguments.output;
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let all = [Part::Attach, Part::Scale, Part::Datapath, Part::Fastpath];
    let parts = if arguments.parts.is_empty() { &all[..] } else { &arguments.parts };
    let mut reports = Vec::new();
    for part in parts {
        let report = measure(*part, &extent, folder, progress);
        report.write(folder, &machine);
        println!("\n{}", report.tables());
        reports.push(report);
    }
    println!("{}", report::verdicts(&reports));
    if let Some(document) = &arguments.document {
        publish(&reports, &machine, folder, document);
    }
}

fn measure(part: Part, extent: &Extent, folder: &Path, progress: &Progress) -> Report {
    match part {
        Part::Attach => {
            let findings = attach::run(&extent.attach, progress);
            let mut report = Report::new("attach", findings, attach::bars(&extent.attach));
            attach::draw(&extent.attach, &mut report, folder);
            report
        }
        Part::Scale => {
            let findings = scale::run(&extent.scale, progress);
            let mut report = Report::new("scale", findings, scale::bars(&extent.scale));
            scale::draw(&extent.scale, &mut report, folder);
            report
        }
        Part::Datapath => {
            let findings = datapath::run(&extent.datapath, progress);
            let mut report = Report::new("datapath", findings, datapath::bars());
            datapath::draw(&mut report, folder);
            report
        }
        Part::Fastpath => {
            Report::new("fastpath", fastpath::run(&extent.fastpath, progress), Vec::new())
        }
    }
}

/// Writes the document's section, and copies the plots into `performance/` beside `performance.md`.
fn publish(reports: &[Report], machine: &Machine, folder: &Path, document: &Path) {
    let plots = document.with_extension("");
    fs::create_dir_all(&plots).unwrap_or_else(|error| panic!("{}: {error}", plots.display()));
    for (file, _) in reports.iter().flat_map(|report| &report.plots) {
        fs::copy(folder.join(file), plots.join(file)).expect("copy a plot");
    }
    let beside = plots.file_name().expect("a document with a name").to_string_lossy();
    report::refresh(document, "make bench", &report::section(reports, machine, &beside));
}
