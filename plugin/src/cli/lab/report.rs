//! What the matrix found, as tables for people and as a document for scripts.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::table::{Align, Table};

/// A pod of the matrix.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace's name.
    pub name: String,
    /// Its short name in tables.
    pub label: String,
    /// Its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// One pod asking another by one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index of the pod that asks.
    pub from: usize,
    /// Index of the pod that is asked.
    pub to: usize,
    /// By which of its addresses.
    pub address: IpAddr,
    /// The best round trip; `None` if no answer came.
    pub trip: Option<Duration>,
}

/// Pods and pairs.
#[derive(Clone, Debug)]
pub struct LabReport {
    /// All pods.
    pub pods: Vec<Pod>,
    /// All pairs, in the order of the pods.
    pub pairs: Vec<Pair>,
}

impl LabReport {
    /// Whether every pair is reached.
    pub fn is_complete(&self) -> bool {
        self.reached() == self.pairs.len()
    }

    fn reached(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.trip.is_some()).count()
    }

    /// A table for each family, then the count.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (family, v6) in [("IPv4", false), ("IPv6", true)] {
            if self.pairs.iter().any(|pair| pair.address.is_ipv6() == v6) {
                let table = self.table(v6);
                text +=
                    &format!("{family}: round trip in ms, from the row to the column\n{table}\n");
            }
        }
        text + &format!("{} of {} pairs reached\n", self.reached(), self.pairs.len())
    }

    /// A cell is the best round trip, `x` for no answer, `-` for the pod itself, empty where there
    /// is no address of this family.
    fn table(&self, v6: bool) -> String {
        let size = self.pods.len();
        let mut cells = vec![vec![String::new(); size]; size];
        for (own, row) in cells.iter_mut().enumerate() {
            row[own] = "-".to_owned();
        }
        for pair in self.pairs.iter().filter(|pair| pair.address.is_ipv6() == v6) {
            let cell =
                pair.trip.map_or("x".to_owned(), |trip| format!("{:.3}", milliseconds(trip)));
            // A pod with two addresses of one family is as reachable as the worse of them.
            let slot = &mut cells[pair.from][pair.to];
            if slot != "x" {
                *slot = cell;
            }
        }
        let labels = self.pods.iter().map(|pod| (pod.label.clone(), Align::Right));
        let mut table = Table::new([("POD".to_owned(), Align::Left)].into_iter().chain(labels));
        for (pod, row) in self.pods.iter().zip(cells) {
            table.row([pod.label.clone()].into_iter().chain(row));
        }
        table.render(None)
    }

    /// The same for scripts.
    pub fn json(&self) -> Value {
        let name = |index: usize| self.pods.get(index).map(|pod| &pod.name);
        let pods = self
            .pods
            .iter()
            .map(|pod| json!({ "name": pod.name, "node": pod.node, "addresses": pod.addresses }));
        let pairs = self.pairs.iter().map(|pair| {
            json!({
                "from": name(pair.from),
                "to": name(pair.to),
                "address": pair.address,
                "rttMs": pair.trip.map(|trip| (milliseconds(trip) * 1e3).round() / 1e3),
            })
        });
        json!({
            "pods": pods.collect::<Vec<_>>(),
            "pairs": pairs.collect::<Vec<_>>(),
            "reached": self.reached(),
            "total": self.pairs.len(),
        })
    }
}

fn milliseconds(trip: Duration) -> f64 {
    trip.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LabReport {
        let pod = |label: &str, node: &str, addresses: &[&str]| Pod {
            name: format!("lab-pod-{label}"),
            label: label.to_owned(),
            node: node.to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let pair = |from, to, address: &str, micros: Option<u64>| Pair {
            from,
            to,
            address: address.parse().unwrap(),
            trip: micros.map(Duration::from_micros),
        };
        LabReport {
            pods: vec![
                pod("1-1", "node-1", &["10.244.0.1", "fd00::1"]),
                pod("1-2", "node-1", &["10.244.0.2"]),
                pod("2-1", "node-2", &["10.244.1.1", "fd00:1::1"]),
            ],
            pairs: vec![
                pair(0, 1, "10.244.0.2", Some(31)),
                pair(0, 2, "10.244.1.1", Some(12_345)),
                pair(0, 2, "fd00:1::1", Some(80)),
                pair(1, 0, "10.244.0.1", Some(29)),
                pair(1, 2, "10.244.1.1", None),
                pair(2, 0, "10.244.0.1", Some(70)),
                pair(2, 1, "10.244.0.2", Some(70)),
                pair(2, 0, "fd00::1", None),
            ],
        }
    }

    #[test]
    fn tables_for_people() {
        let report = report();
        assert_eq!(
            report.text(),
            "IPv4: round trip in ms, from the row to the column\n\
             POD    1-1    1-2     2-1\n\
             1-1      -  0.031  12.345\n\
             1-2  0.029      -       x\n\
             2-1  0.070  0.070       -\n\n\
             IPv6: round trip in ms, from the row to the column\n\
             POD  1-1  1-2    2-1\n\
             1-1    -       0.080\n\
             1-2         -\n\
             2-1    x           -\n\n\
             6 of 8 pairs reached\n"
        );
        assert!(!report.is_complete());
    }

    #[test]
    fn a_document_for_scripts() {
        let document = report().json();
        assert_eq!(
            document["pods"][1],
            json!({ "name": "lab-pod-1-2", "node": "node-1", "addresses": ["10.244.0.2"] })
        );
        assert_eq!(
            document["pairs"][1],
            json!({ "from": "lab-pod-1-1", "to": "lab-pod-2-1", "address": "10.244.1.1",
                    "rttMs": 12.345 })
        );
        assert_eq!(document["pairs"][4]["rttMs"], Value::Null);
        assert_eq!((&document["reached"], &document["total"]), (&json!(6), &json!(8)));
    }
}
