//! What a probe found, as a table for people and as a document for scripts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::shade::{LEGEND, Shade};
use crate::cli::table::{Align, Table};

/// More lost pairs than this are counted, not named.
const NAMED: usize = 10;

/// An address of a node in the network.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node.
    pub node: String,
    /// Its VTEP address of one family.
    pub address: IpAddr,
}

/// One who asked.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The node, or one of its pods.
    pub name: String,
    /// Whom it asked.
    pub asked: Vec<IpAddr>,
    /// Who answered, and how fast.
    pub answers: HashMap<IpAddr, Duration>,
}

impl Sender {
    /// How one target looks from here.
    pub fn shade(&self, to: IpAddr) -> Shade {
        match self.asked.contains(&to) {
            true => Shade::of(self.answers.get(&to).copied()),
            false => Shade::Blank,
        }
    }
}

/// One network.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Its name.
    pub network: String,
    /// This node.
    pub node: String,
    /// Every node's addresses, in the order of the range file.
    pub targets: Vec<Target>,
    /// This node first, then its pods.
    pub sources: Vec<Sender>,
}

impl ProbeReport {
    /// Whether everybody answered.
    pub fn is_complete(&self) -> bool {
        self.lost().next().is_none()
    }

    fn lost(&self) -> impl Iterator<Item = (&Sender, &Target)> {
        self.sources.iter().flat_map(move |source| {
            let lost = |target: &&Target| source.shade(target.address) == Shade::Lost;
            self.targets.iter().filter(lost).map(move |target| (source, target))
        })
    }

    /// A row for each address: the round trip from the node, and one sign for each pod. Rows of
    /// addresses that are not reached from everywhere stand out.
    pub fn text(&self, within: Option<usize>) -> String {
        let pods = self.sources.get(1..).unwrap_or_default();
        let mut columns =
            vec![("NODE", Align::Left), ("ADDRESS", Align::Left), ("MS", Align::Right)];
        if !pods.is_empty() {
            columns.push(("FROM PODS", Align::Left));
        }
        let mut table = Table::new(columns);
        let bad = AnsiColor::Red.on_default();
        let lost: Vec<IpAddr> = self.lost().map(|(_, target)| target.address).collect();
        for Target { node, address } in &self.targets {
            let from_node = self.sources.first().map(|source| match source.shade(*address) {
                Shade::Blank => String::new(),
                _ => source.answers.get(address).map_or("x".into(), |trip| milliseconds(*trip)),
            });
            let signs: String = pods.iter().map(|pod| pod.shade(*address).sign()).collect();
            let row = [node.clone(), address.to_string(), from_node.unwrap_or_default()];
            let style = if lost.contains(address) { bad } else { Style::new() };
            table.styled(style, row.into_iter().chain((!pods.is_empty()).then_some(signs)));
        }
        let mut text = format!("{} from {}\n", self.network, self.node);
        text += &table.render(within);
        if !pods.is_empty() {
            let legend: Vec<_> =
                LEGEND.iter().map(|(shade, words)| format!("{} {words}", shade.sign())).collect();
            text += &format!("{}\n", legend.join("   "));
        }
        text + &self.count()
    }

    fn count(&self) -> String {
        let lost: Vec<_> = self.lost().collect();
        let mut text = String::new();
        for (source, target) in lost.iter().take(NAMED) {
            let Target { node, address } = target;
            text += &format!("no answer: from {} to {node} ({address})\n", source.name);
        }
        if lost.len() > NAMED {
            text += &format!("and {} more\n", lost.len() - NAMED);
        }
        let all: usize = self.sources.iter().map(|source| source.asked.len()).sum();
        text + &format!("{} of {all} answered\n", all - lost.len())
    }

    /// The same for scripts.
    pub fn json(&self) -> Value {
        let pairs = self.sources.iter().flat_map(|source| {
            let asked = |target: &&Target| source.asked.contains(&target.address);
            self.targets.iter().filter(asked).map(|Target { node, address }| {
                let trip = source.answers.get(address);
                let ms = trip.map(|trip| (trip.as_secs_f64() * 1e6).round() / 1e3);
                json!({ "from": source.name, "to": node, "address": address, "rttMs": ms })
            })
        });
        json!({ "network": self.network, "node": self.node, "pairs": pairs.collect::<Vec<_>>() })
    }
}

/// `0.087`
pub fn milliseconds(trip: Duration) -> String {
    format!("{:.3}", trip.as_secs_f64() * 1e3)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report() -> ProbeReport {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let target = |node: &str, address| Target { node: node.into(), address: ip(address) };
        let source = |name: &str, asked: &[&str], answers: &[(&str, u64)]| Sender {
            name: name.into(),
            asked: asked.iter().map(|to| ip(to)).collect(),
            answers: answers.iter().map(|(to, us)| (ip(to), Duration::from_micros(*us))).collect(),
        };
        ProbeReport {
            network: "pods".into(),
            node: "a".into(),
            targets: vec![
                target("a", "10.1.1.0"),
                target("b", "10.1.2.0"),
                target("b", "fd00:2::"),
            ],
            sources: vec![
                source(
                    "a",
                    &["10.1.1.0", "10.1.2.0", "fd00:2::"],
                    &[("10.1.1.0", 12), ("10.1.2.0", 87), ("fd00:2::", 12_345)],
                ),
                source("default/<web>", &["10.1.1.0", "10.1.2.0"], &[("10.1.1.0", 700)]),
            ],
        }
    }

    #[test]
    fn a_row_for_each_address() {
        let text = anstream::adapter::strip_str(&report().text(None)).to_string();
        assert_eq!(
            text,
            "pods from a\n\
             NODE  ADDRESS       MS  FROM PODS\n\
             a     10.1.1.0   0.012  -\n\
             b     10.1.2.0   0.087  x\n\
             b     fd00:2::  12.345\n\
             . < 0.5 ms   - < 2 ms   + < 10 ms   # slower   x no answer\n\
             no answer: from default/<web> to b (10.1.2.0)\n\
             4 of 5 answered\n"
        );
        assert!(!report().is_complete());
    }

    #[test]
    fn without_pods_there_is_no_heat_map() {
        let mut alone = report();
        alone.sources.truncate(1);
        let text = alone.text(None);
        assert!(text.starts_with("pods from a\nNODE  ADDRESS       MS\n"), "{text}");
        assert!(text.ends_with("3 of 3 answered\n") && alone.is_complete(), "{text}");
        alone.sources[0].answers.clear();
        assert!(alone.text(None).ends_with("0 of 3 answered\n"));
    }

    #[test]
    fn a_document_for_scripts() {
        let document = report().json();
        assert_eq!(document["pairs"].as_array().map(Vec::len), Some(5));
        assert_eq!(
            document["pairs"][4],
            json!({ "from": "default/<web>", "to": "b", "address": "10.1.2.0", "rttMs": null })
        );
        assert_eq!(document["pairs"][2]["rttMs"], json!(12.345));
    }
}
