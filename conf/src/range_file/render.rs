//! The text of a range file, with a line for each node so that a diff of two files is read as
//! nodes that came, went or changed.

use serde_json::json;

use super::{Node, RangeFile};
use crate::{Range, raw};

impl RangeFile {
    /// The file's text, one line per node; reading it back gives the same range file.
    /// `clusterCIDRs` are left out where they are what a reader would take in their absence.
    pub fn to_json(&self) -> String {
        let mut text = format!(
            "{{\n  \"version\": 1,\n  \"vni\": {},\n  \"port\": {},\n",
            self.vni, self.port
        );
        if !self.subnets().eq(self.cluster_cidrs.iter().copied()) {
            let networks: Vec<_> = self.cluster_cidrs.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  \"clusterCIDRs\": {},\n", list(&networks)));
        }
        if self.direct_routing {
            text.push_str("  \"directRouting\": true,\n");
        }
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("    {}", line(node))).collect();
        text.push_str(&format!("  \"nodes\": [\n{}\n  ]\n}}\n", nodes.join(",\n")));
        text
    }
}

fn line(node: &Node) -> String {
    let ranges: Vec<_> = node.ranges.iter().map(range).collect();
    format!(
        "{{ \"name\": {}, \"vtep\": \"{}\", \"ranges\": [{}] }}",
        json!(node.name),
        node.vtep,
        ranges.join(", ")
    )
}

fn range(range: &Range) -> String {
    let object = match raw::Range::from(range.clone()) {
        raw::Range::Subnet(subnet) => return format!("\"{subnet}\""),
        raw::Range::Object(object) => object,
    };
    let mut text = format!("{{ \"subnet\": \"{}\"", object.subnet);
    for (key, value) in [("rangeStart", object.range_start), ("rangeEnd", object.range_end)] {
        if let Some(value) = value {
            text.push_str(&format!(", \"{key}\": \"{value}\""));
        }
    }
    if !object.exclude.is_empty() {
        text.push_str(&format!(", \"exclude\": {}", list(&object.exclude)));
    }
    if object.retiring {
        text.push_str(", \"retiring\": true");
    }
    text.push_str(" }");
    text
}

/// A list of networks, none of which holds anything that JSON would escape.
fn list(networks: &[String]) -> String {
    format!("[\"{}\"]", networks.join("\", \""))
}
