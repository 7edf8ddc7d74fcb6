//! Pods whose addresses are in none of their node's ranges any more: a range that shrinks leaves
//! its pods alone, and its author should know.

use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{Range, RangeFile};
use flatnet_ipam::{Leases, Record};

use crate::cli::error::CommandError;
use crate::error::Error as Verb;
use crate::overlay::stamp::Stamp;

/// A line for each such address. The networks of this machine that the file is about are those of
/// its VNI.
///
/// # Errors
/// The leases cannot be looked at.
pub fn warnings(file: &RangeFile, state_dir: &Path) -> Result<Vec<String>, CommandError> {
    let mut warnings = Vec::new();
    for stamp in Stamp::all(state_dir).iter().filter(|stamp| stamp.vni == file.vni) {
        let Some(leases) =
            Leases::existing(state_dir, &stamp.network, &stamp.node).map_err(Verb::from)?
        else {
            continue;
        };
        let ranges = file.node(&stamp.node).map(|node| &node.ranges[..]).unwrap_or_default();
        let mut leases = leases.list().map_err(Verb::from)?.leases;
        leases.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        for lease in leases {
            warnings.extend(outside(&stamp.node, ranges, &lease));
        }
    }
    Ok(warnings)
}

fn outside(node: &str, ranges: &[Range], lease: &Record) -> Vec<String> {
    let given = |address: &IpAddr| ranges.iter().any(|range| range.gives(*address));
    let routed = |address: IpAddr| ranges.iter().any(|range| range.subnet().contains(address));
    let addresses = lease.addresses.iter().filter(|address| !given(address));
    addresses
        .map(|address| {
            let reach = match routed(*address) {
                true => "it keeps the address until it goes",
                false => "it keeps the address until it goes, but other nodes reach it no more",
            };
            format!(
                "{address} of {} is in none of the ranges of {node} any more; {reach}",
                lease.attachment
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::Holder;

    use super::*;

    #[test]
    fn an_address_outside_is_named_with_what_that_means() {
        let attachment =
            Holder { container_id: "c1".into(), ifname: "eth0".into(), ..Holder::default() };
        let addresses = ["10.1.1.7", "fd00::7"].map(|ip| ip.parse().unwrap()).to_vec();
        let lease = Record { attachment, addresses };
        let range = |subnet: &str| Range::parse(subnet).unwrap();
        let whole = [range("10.1.1.0/24"), range("fd00::/64")];
        assert_eq!(outside("a", &whole, &lease), [""; 0]);

        let end = Some("10.1.1.6".parse().unwrap());
        let part = Range::new("10.1.1.0/24".parse().unwrap(), None, end, vec![]).unwrap();
        assert_eq!(
            outside("a", &[part], &lease),
            [
                "10.1.1.7 of interface eth0 of container c1 is in none of the ranges of a any more; \
                 it keeps the address until it goes",
                "fd00::7 of interface eth0 of container c1 is in none of the ranges of a any more; \
                 it keeps the address until it goes, but other nodes reach it no more",
            ]
        );
    }
}
