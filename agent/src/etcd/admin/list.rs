//! The nodes of a network.

use std::collections::BTreeMap;

use flatnet::cli::{Align, Outcome, Table, age, columns};
use flatnet_conf::ClusterNetwork;
use serde_json::{Value, json};

use super::lease::Life;
use super::site::{Answer, Site};
use super::view::View;
use crate::judge::judge;

pub async fn run(site: &Site, json: bool) -> Answer {
    let view = View::read(site).await?;
    let (nodes, left_out) = nodes(&site.network, &view);
    let text = match json {
        true => format!("{:#}\n", document(&site.network.name, &nodes, &left_out)),
        false => {
            let table = table(&nodes).render(columns());
            left_out.iter().fold(table, |text, line| format!("{text}{line}\n"))
        }
    };
    let outcome = if left_out.is_empty() { Outcome::Fine } else { Outcome::Finding };
    Ok((text, outcome))
}

/// What is told of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// `None` if it has said nothing, but has ranges.
    vtep: Option<String>,
    /// Ranges, oldest first, and whether they are kept for living pods alone.
    ranges: Vec<(String, bool)>,
    life: Option<Life>,
}

/// The nodes by their names, and what is left out.
fn nodes(network: &ClusterNetwork, view: &View) -> (BTreeMap<String, Node>, Vec<String>) {
    let cluster = view.cluster();
    let judged = judge(network, &cluster);
    let mut nodes = BTreeMap::<String, Node>::new();
    for (name, vtep) in &judged.nodes {
        nodes.entry(name.clone()).or_default().vtep = Some(vtep.to_string());
    }
    for (holder, blocks) in &judged.holdings {
        let ranges = blocks.iter();
        let ranges = ranges.filter_map(|b| Some((b.subnet()?.to_string(), b.retiring)));
        nodes.entry(holder.clone()).or_default().ranges = ranges.collect();
    }
    for (name, node) in &mut nodes {
        node.life = view.life(name);
    }
    (nodes, judged.rejected().map(ToString::to_string).collect())
}

fn table(nodes: &BTreeMap<String, Node>) -> Table {
    let titles = ["NODE", "VTEP", "RANGES", "SEEN"];
    let mut table = Table::new(titles.map(|title| (title, Align::Left)));
    for (name, node) in nodes {
        let ranges = node.ranges.iter().map(|(range, retiring)| match retiring {
            true => format!("{range} (retiring)"),
            false => range.clone(),
        });
        let ranges = ranges.collect::<Vec<_>>().join(" ");
        let none = || "-".to_owned();
        let seen = node.life.map_or_else(none, |life| format!("{} ago", age(life.age())));
        table.row([name.clone(), node.vtep.clone().unwrap_or_else(none), ranges, seen]);
    }
    table
}

fn document(network: &str, nodes: &BTreeMap<String, Node>, left_out: &[String]) -> Value {
    let nodes = nodes.iter().map(|(name, node)| {
        let ranges = node.ranges.iter();
        let ranges = ranges.map(|(range, retiring)| json!({ "range": range, "retiring": retiring }));
        let lease = node.life.map(|life| {
            json!({
                "ttl": life.granted,
                "secondsLeft": life.left,
                "secondsSinceRenewal": life.age().as_secs(),
            })
        });
        json!({ "name": name, "vtep": node.vtep, "ranges": ranges.collect::<Vec<_>>(), "lease": lease })
    });
    json!({ "network": network, "nodes": nodes.collect::<Vec<_>>(), "leftOut": left_out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::admin::fixture::{lives, view};
    use crate::fixture::network;

    #[test]
    fn nodes_are_shown_with_their_ranges_oldest_first() {
        let mut view = view(&[
            "b 192.0.2.2",
            "10.1.9.0/24 b",
            "10.1.2.0/24 b retiring",
            "10.1.3.0/24 gone",
            "c x",
        ]);
        lives(&mut view, "b", 60, 50);
        let (nodes, left_out) = nodes(&network(), &view);
        assert_eq!(
            table(&nodes).render(None),
            "NODE  VTEP       RANGES                              SEEN\n\
             b     192.0.2.2  10.1.9.0/24 10.1.2.0/24 (retiring)  10s ago\n\
             gone  -          10.1.3.0/24                         -\n"
        );
        assert_eq!(left_out.len(), 1);
        let document = document("pods", &nodes, &left_out);
        let expected = json!({
            "name": "b",
            "vtep": "192.0.2.2",
            "ranges": [{ "range": "10.1.9.0/24", "retiring": false }, { "range": "10.1.2.0/24", "retiring": true }],
            "lease": { "ttl": 60, "secondsLeft": 50, "secondsSinceRenewal": 10 },
        });
        assert_eq!(document["nodes"][0], expected);
        assert_eq!(document["nodes"][1]["lease"], Value::Null);
        assert!(document["leftOut"][0].as_str().unwrap().starts_with("node c is left out: "));
    }
}
