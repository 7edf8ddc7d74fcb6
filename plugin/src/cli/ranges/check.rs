//! `flatnet ranges check`: what is wrong with a range file, or what is in it.

use std::path::Path;

use flatnet_conf::RangeFile;
use serde_json::{Value, json};

use super::outside;
use crate::cli::capacity::Capacity;
use crate::cli::error::CommandError;
use crate::cli::output::{Answer, Outcome, columns, complain};
use crate::cli::table::{Align, Table};

/// Reads the file and judges it. A pod outside of its node's ranges is no fault of the file's.
pub fn run(path: &Path, state_dir: &Path, json: bool) -> Result<Answer, CommandError> {
    match RangeFile::load(path) {
        Ok(file) => {
            let warnings = outside::warnings(&file, state_dir)?;
            if json {
                return Ok(Answer::json(&document(&file, &warnings), Outcome::Fine));
            }
            warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
            Ok(Answer::fine(summary(path, &file)))
        }
        Err(error @ flatnet_conf::Error::Read { .. }) => Err(error.into()),
        Err(error) if json => {
            let document = json!({ "valid": false, "error": error.to_string() });
            Ok(Answer::json(&document, Outcome::Finding))
        }
        Err(error) => Err(CommandError::Finding(error.to_string())),
    }
}

/// For people.
fn summary(path: &Path, file: &RangeFile) -> String {
    let mut nodes = Table::new([
        ("NODE", Align::Left),
        ("VTEP", Align::Left),
        ("RANGES", Align::Left),
        ("POD ADDRESSES", Align::Left),
    ]);
    for node in &file.nodes {
        let ranges: Vec<String> =
            node.ranges.iter().map(|range| range.subnet().to_string()).collect();
        let capacity = Capacity::of(&node.ranges).words();
        nodes.row([node.name.clone(), node.vtep.to_string(), ranges.join(", "), capacity]);
    }
    let clusters: Vec<String> = file.cluster_cidrs.iter().map(ToString::to_string).collect();
    format!(
        "{}: valid; version 1, VNI {}, port {}\ncluster CIDRs: {}\n\n{}\n{} {}, {} {}, pod \
         addresses: {}\n",
        path.display(),
        file.vni,
        file.port,
        clusters.join(", "),
        nodes.render(columns()),
        file.nodes.len(),
        if file.nodes.len() == 1 { "node" } else { "nodes" },
        range_count(file),
        if range_count(file) == 1 { "range" } else { "ranges" },
        total(file).words(),
    )
}

/// For scripts.
fn document(file: &RangeFile, warnings: &[String]) -> Value {
    let nodes: Vec<Value> = file
        .nodes
        .iter()
        .map(|node| {
            let subnets: Vec<_> = node.ranges.iter().map(|range| range.subnet()).collect();
            json!({
                "name": node.name,
                "vtep": node.vtep,
                "ranges": subnets.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "podAddresses": Capacity::of(&node.ranges),
            })
        })
        .collect();
    json!({
        "valid": true,
        "version": 1,
        "vni": file.vni,
        "port": file.port,
        "directRouting": file.direct_routing,
        "clusterCIDRs": file.cluster_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nodes": nodes,
        "podAddresses": total(file),
        "warnings": warnings,
    })
}

fn range_count(file: &RangeFile) -> usize {
    file.nodes.iter().map(|node| node.ranges.len()).sum()
}

fn total(file: &RangeFile) -> Capacity {
    Capacity::of(file.nodes.iter().flat_map(|node| &node.ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{ "version": 1, "clusterCIDRs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "nodes": [
          { "name": "a", "vtep": "192.0.2.1", "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"] },
          { "name": "b", "vtep": "192.0.2.2", "ranges": [ { "subnet": "10.244.2.0/24",
            "rangeStart": "10.244.2.10", "rangeEnd": "10.244.2.200",
            "exclude": ["10.244.2.50/32"] } ] } ] }"#;

    fn check(text: &str, json: bool) -> Result<Answer, CommandError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.json");
        std::fs::write(&path, text).unwrap();
        run(&path, folder.path(), json)
    }

    #[test]
    fn tells_what_is_in_it() {
        let answer = check(GOOD, false).unwrap();
        let (head, rest) = answer.text.split_once('\n').unwrap();
        assert!(head.ends_with("pods.json: valid; version 1, VNI 4096, port 4789"), "{head}");
        assert_eq!(
            rest,
            "cluster CIDRs: 10.244.0.0/16, fd00:10:244::/56\n\n\
             NODE  VTEP       RANGES                             POD ADDRESSES\n\
             a     192.0.2.1  10.244.1.0/24, fd00:10:244:1::/64  254 IPv4, 2^64 IPv6\n\
             b     192.0.2.2  10.244.2.0/24                      190 IPv4\n\n\
             2 nodes, 3 ranges, pod addresses: 444 IPv4, 2^64 IPv6\n"
        );
        assert_eq!(answer.outcome, Outcome::Fine);
    }

    #[test]
    fn tells_scripts_the_same() {
        let answer = check(GOOD, true).unwrap();
        let document: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(
            document["nodes"][1],
            json!({ "name": "b", "vtep": "192.0.2.2", "ranges": ["10.244.2.0/24"],
                    "podAddresses": { "ipv4": 190, "ipv6": 0 } })
        );
        assert_eq!(document["valid"], true);
        assert_eq!(document["podAddresses"], json!({ "ipv4": 444, "ipv6": u64::MAX }));
    }

    #[test]
    fn a_broken_rule_is_a_finding_and_no_file_a_failure() {
        let error = check("{}", false).unwrap_err();
        assert_eq!(Outcome::from(&error), Outcome::Finding);
        let answer = check("{}", true).unwrap();
        assert_eq!(answer.outcome, Outcome::Finding);
        let document: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((&document["valid"], document["error"].is_string()), (&json!(false), true));
        for json in [false, true] {
            let error = run(Path::new("/nonexistent/pods.json"), Path::new("/nonexistent"), json)
                .unwrap_err();
            assert_eq!(Outcome::from(&error), Outcome::Failed);
        }
    }
}
