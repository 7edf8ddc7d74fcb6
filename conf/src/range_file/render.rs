//! The text of a range file, with a line for each node so that a diff of two files is read as
//! nodes that came, went or changed.

use std::fmt::{Display, Error, Formatter, Write};

use serde_json::json;

use super::{Node, RangeFile};
use crate::{Range, raw};

/// About as much as a node's line has.
const LINE: usize = 96;

impl RangeFile {
    /// The file's text, one line per node; reading it back gives the same range file.
    /// `clusterCIDRs` are left out where they are what a reader would take in their absence.
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(LINE * (self.nodes.len() + 2));
        // A string takes all that is written to it.
        let _ = write(&mut text, self);
        text
    }
}

fn write(text: &mut String, file: &RangeFile) -> Result<(), Error> {
    write!(text, "{{\n  \"version\": 1,\n  \"vni\": {},\n  \"port\": {},\n", file.vni, file.port)?;
    if !file.subnets().eq(file.cluster_cidrs.iter().copied()) {
        writeln!(text, "  \"clusterCIDRs\": [{}],", Listed(&file.cluster_cidrs, quoted))?;
    }
    if file.direct_routing {
        text.push_str("  \"directRouting\": true,\n");
    }
    text.push_str("  \"nodes\": [");
    for (index, node) in file.nodes.iter().enumerate() {
        text.push_str(if index == 0 { "\n    " } else { ",\n    " });
        line(text, node)?;
    }
    text.push_str("\n  ]\n}\n");
    Ok(())
}

fn line(text: &mut String, node: &Node) -> Result<(), Error> {
    let Node { name, vtep, ranges } = node;
    let ranges = Listed(ranges, range);
    write!(text, "{{ \"name\": {}, \"vtep\": \"{vtep}\", \"ranges\": [{ranges}] }}", json!(name))
}

fn range(range: &Range, f: &mut Formatter<'_>) -> Result<(), Error> {
    if range.is_whole() {
        return quoted(&range.subnet(), f);
    }
    let raw::RangeObject { subnet, range_start, range_end, exclude, retiring } = range.object();
    write!(f, "{{ \"subnet\": \"{subnet}\"")?;
    for (key, value) in [("rangeStart", range_start), ("rangeEnd", range_end)] {
        if let Some(value) = value {
            write!(f, ", \"{key}\": \"{value}\"")?;
        }
    }
    if !exclude.is_empty() {
        write!(f, ", \"exclude\": [{}]", Listed(&exclude, quoted))?;
    }
    if retiring {
        f.write_str(", \"retiring\": true")?;
    }
    f.write_str(" }")
}

/// Nothing that is written like this holds what JSON would escape.
fn quoted(value: &impl Display, f: &mut Formatter<'_>) -> Result<(), Error> {
    write!(f, "\"{value}\"")
}

/// The elements of a list, each written by the function.
struct Listed<'a, T>(&'a [T], fn(&T, &mut Formatter<'_>) -> Result<(), Error>);

impl<T> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result<(), Error> {
        for (index, element) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            (self.1)(element, f)?;
        }
        Ok(())
    }
}
