//! What becomes of the figures: a table on standard output, JSON, and a section of a document.

use std::fs;
use std::path::Path;

use flatnet_bench::report::{Machine, markdown, module, number, refresh, said};
use flatnet_tests::program::{ours, workspace};
use serde::Serialize;

use super::{Extent, flannel};

/// What was measured of one network; what could not be is none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Heartbeats a second while nothing else happened.
    pub heartbeats: Option<f64>,
    /// kB a minute from the API server.
    pub bytes: Option<f64>,
    /// Percent of a CPU while nothing happened.
    pub idle: Option<f64>,
    /// Seconds until a new node's route stood, 99 of 100.
    pub join: Option<f64>,
    /// The same, half of them.
    pub join_median: Option<f64>,
    /// Milliseconds of a CPU for one new node.
    pub join_cpu: Option<f64>,
    /// MiB at the most.
    pub memory: Option<f64>,
    /// ADD beside it, as a ratio to ADD without it.
    pub add: Option<f64>,
    /// Seconds from its start until all routes stood.
    pub start: Option<f64>,
}

type Figure = fn(&Figures) -> Option<f64>;

/// What is reported, in which unit, and what it may be at most.
type Row = (&'static str, &'static str, Figure, Option<f64>);

/// In a Kubernetes.
const KUBERNETES: [Row; 9] = [
    ("from the API server while nothing but heartbeats happens", "kB/min", |f| f.bytes, Some(2.0)),
    JOIN,
    MEDIAN,
    JOIN_CPU,
    MEMORY,
    ("CPU while nothing but heartbeats happens", "% of one", |f| f.idle, Some(0.1)),
    ADD,
    START,
    ("heartbeats meanwhile", "1/s", |f| f.heartbeats, None),
];
/// With an etcd.
const ETCD: [Row; 8] = [
    ("from etcd while nothing happens", "kB/min", |f| f.bytes, Some(2.0)),
    JOIN,
    MEDIAN,
    JOIN_CPU,
    MEMORY,
    ("CPU while nothing happens", "% of one", |f| f.idle, Some(0.1)),
    ADD,
    START,
];
const JOIN: Row = ("a node joins: the others have a route, p99", "s", |f| f.join, Some(1.0));
const MEDIAN: Row = ("the same, median", "s", |f| f.join_median, None);
const JOIN_CPU: Row = ("CPU time for one joining node", "ms", |f| f.join_cpu, Some(20.0));
const MEMORY: Row = ("memory, at its peak", "MiB", |f| f.memory, Some(40.0));
const ADD: Row = ("ADD beside it against ADD without it", "ratio", |f| f.add, Some(1.05));
const START: Row = ("from its start until all routes stand", "s", |f| f.start, None);

/// Both networks, with the same engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Both {
    /// The agent.
    pub flatnet: Figures,
    /// flannel's daemon.
    pub flannel: Figures,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How much was measured.
    #[serde(skip)]
    pub extent: Extent,
    /// Bytes of a Node, as JSON.
    pub node_bytes: usize,
    /// What was measured with an API server.
    pub kubernetes: Both,
    /// Bytes of the keys of a node, and of their values.
    pub key_bytes: usize,
    /// What was measured with an etcd.
    pub etcd: Both,
    /// Whether the figures mean nothing.
    pub short: bool,
}

impl Report {
    /// The figures beside their bars.
    pub fn tables(&self) -> String {
        let Extent { nodes, agents, joins, .. } = self.extent;
        let said = format!("{agents} agents of which the worst counts, {joins} joins");
        let gap = match self.kubernetes.flannel.start {
            Some(_) => "",
            None => {
                "\nNot measured: flannel's daemon, which `.ci/install bench-cluster` could not build.\n"
            }
        };
        let short = if self.short { "\nA short run: the figures mean nothing.\n" } else { "" };
        format!(
            "### In a Kubernetes\n\n{nodes} Nodes of {} bytes, {said}.\n\n{}\n\
             ### With an etcd\n\n{nodes} nodes with keys of {} bytes each, {said}.\n\n{}{gap}{short}",
            self.node_bytes,
            self.kubernetes.table(&KUBERNETES),
            self.key_bytes,
            self.etcd.table(&ETCD),
        )
    }

    /// Writes `target/bench/cluster.json`.
    pub fn keep(&self, machine: &Machine) {
        #[derive(Serialize)]
        struct File<'a> {
            machine: &'a Machine,
            #[serde(flatten)]
            report: &'a Report,
        }
        let folder = workspace().join("target/bench");
        fs::create_dir_all(&folder).expect("a folder for the figures");
        let text = serde_json::to_string_pretty(&File { machine, report: self }).expect("JSON");
        fs::write(folder.join("cluster.json"), text).expect("write the figures");
    }

    /// Writes the section of a document again.
    pub fn publish(&self, document: &Path, machine: &Machine) {
        let section = format!("## Figures\n\n{}\n{machine}", self.tables());
        refresh(document, "make bench-cluster", &section);
    }
}

impl Both {
    fn table(&self, rows: &[Row]) -> String {
        let row = |(text, unit, of, bar): &Row| {
            let shown = |value: Option<f64>| value.map_or_else(String::new, number);
            let flatnet = of(&self.flatnet);
            let met = match (bar, flatnet) {
                (None, _) => "",
                (Some(bar), Some(value)) if value <= *bar => "met",
                (Some(_), None) => "not measured",
                (Some(_), Some(_)) => "**not met**",
            };
            let bar = bar.map_or_else(String::new, |bar| format!("at most {}", number(bar)));
            let cells =
                [(*text).to_owned(), (*unit).to_owned(), shown(flatnet), bar, met.to_owned()];
            cells.into_iter().chain([shown(of(&self.flannel))]).collect()
        };
        let header = ["", "unit", "flatnet-agent", "bar", "", "flanneld"];
        markdown(&header, &rows.iter().map(row).collect::<Vec<_>>())
    }
}

/// What is compared, and against what.
pub fn programs() -> Vec<String> {
    let tools = workspace().join("target/tools/kubernetes");
    let mut programs = vec![
        said(&ours("flatnet-agent"), &["--version"]),
        format!("kube-apiserver: {}", said(&tools.join("kube-apiserver"), &["--version"])),
        said(&tools.join("etcd"), &["--version"]).lines().next().unwrap_or_default().to_owned(),
    ];
    programs.extend(flannel::program().map(|path| format!("flanneld: {}", module(&path))));
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_up_to_it_and_not_without_a_figure() {
        let flatnet = Figures { bytes: Some(2.0), memory: Some(40.1), ..Figures::default() };
        let flannel = Figures { memory: Some(94.0), ..Figures::default() };
        let table = Both { flatnet, flannel }.table(&KUBERNETES);
        let line =
            |text: &str| table.lines().find(|line| line.contains(text)).expect("a line").to_owned();
        assert!(line("from the API server").contains("| met "), "{table}");
        assert!(line("memory").contains("| 40.1 "), "{table}");
        assert!(line("memory").contains("| **not met** "), "{table}");
        assert!(line("memory").contains("| 94.0 "), "{table}");
        assert!(line("CPU time").contains("| not measured "), "{table}");
        let (kubernetes, etcd) = (Both::default(), Both::default());
        let extent = Extent::FULL;
        let report =
            Report { extent, node_bytes: 3600, kubernetes, key_bytes: 200, etcd, short: false };
        assert!(report.tables().contains("Not measured: flannel's daemon"), "{}", report.tables());
    }
}
