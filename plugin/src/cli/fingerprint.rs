//! A range file in eight digits, to see at a glance whether nodes agree.

use flatnet_conf::{Node, RangeFile};
use sha2::{Digest, Sha256};

/// The first 32 bits of a hash of what the file means, in hex. Files that mean the same have the same,
/// whatever the order of their nodes and keys and their white space; every version of flatnet computes
/// the same of them.
pub fn fingerprint(file: &RangeFile) -> String {
    let RangeFile { vni, port, cluster_cidrs, direct_routing, nodes } = file;
    let mut cidrs: Vec<_> = cluster_cidrs.iter().map(ToString::to_string).collect();
    cidrs.sort_unstable();
    let mut nodes: Vec<_> = nodes.iter().map(line).collect();
    nodes.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(format!("{vni} {port} {direct_routing} {}\n", cidrs.join(" ")));
    nodes.iter().for_each(|node| hash.update(node));
    hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// A node's ranges stay in their order: it is that of their use, and the first gives the node's own address.
fn line(node: &Node) -> String {
    let ranges = node.ranges.iter().map(|range| {
        let exclude: Vec<_> = range.exclude().iter().map(ToString::to_string).collect();
        let retiring = if range.is_retiring() { " retiring" } else { "" };
        let (start, end) = (range.start(), range.end());
        format!(" {} {start}-{end} {}{retiring}", range.subnet(), exclude.join(","))
    });
    format!("{} {}{}\n", node.name, node.vtep, ranges.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(text: &str) -> String {
        fingerprint(&RangeFile::parse(Path::new("r.json"), text.as_bytes()).unwrap())
    }

    #[test]
    fn what_means_the_same_has_the_same() {
        const A: &str = r#"{"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24","fd00:1::/64"]}"#;
        const B: &str = r#"{"name":"b","vtep":"192.0.2.2","ranges":[{"subnet":"10.1.2.0/24","exclude":["10.1.2.8/29"]}]}"#;
        let file = |rest: &str, nodes: &[&str]| {
            of(&format!(r#"{{"version":1{rest},"nodes":[{}]}}"#, nodes.join(" , ")))
        };
        const ALL: &str = r#","clusterCIDRs":["10.1.0.0/16","fd00::/16"]"#;
        let whole = file(ALL, &[A, B]);
        assert_eq!(whole, "0f5a5a34", "that of every version");
        assert_eq!(file(ALL, &[B, A]), whole);
        assert_eq!(
            file(r#","vni":4096,"clusterCIDRs":["fd00::/16","10.1.0.0/16"]"#, &[A, B]),
            whole
        );
        let other = B.replace("10.1.2.8/29", "10.1.2.16/29");
        let swapped = A.replace(r#""10.1.1.0/24","fd00:1::/64""#, r#""fd00:1::/64","10.1.1.0/24""#);
        for different in [
            file(ALL, &[A]),
            file(ALL, &[A, &other]),
            file(ALL, &[&swapped, B]),
            file(ALL, &[A, &B.replace(r#""exclude""#, r#""retiring":true,"exclude""#)]),
            file(ALL, &[&A.replace("192.0.2.1", "192.0.2.3"), B]),
            file(r#","port":4790,"clusterCIDRs":["10.1.0.0/16","fd00::/16"]"#, &[A, B]),
            file(r#","directRouting":true,"clusterCIDRs":["10.1.0.0/16","fd00::/16"]"#, &[A, B]),
            file(r#","clusterCIDRs":["10.0.0.0/8","fd00::/16"]"#, &[A, B]),
        ] {
            assert_ne!(different, whole);
        }
    }
}
