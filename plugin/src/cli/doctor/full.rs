//! Ranges in which no address is left.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_ipam::{Candidate, Key};

use super::scene::Scene;
use crate::attachment::living::lives;
use crate::cli::finding::Finding;
use crate::cli::usage;
use crate::error::Error;

/// Counts the addresses of living pods: the next ADD takes the others back.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let conf = scene.conf;
    let leases = scene.look.attachments(conf)?.leases;
    let mut held = BTreeSet::<IpAddr>::new();
    for lease in leases {
        let holder = &lease.attachment;
        let key = Key::new(&conf.name, &holder.container_id, &holder.ifname);
        let addresses = lease.addresses.clone();
        let delegated = holder.is_delegated();
        let candidate = Candidate { key: Some(key), record: Some(lease), addresses, written: None };
        if delegated || lives(&mut scene.look.kernel, &candidate) {
            held.extend(candidate.addresses);
        }
    }
    let node = &scene.look.site.node;
    let full = usage::full(&usage::of(&node.ranges, &held));
    Ok(full.iter().map(|subnets| judge(subnets, &node.name, scene)).collect())
}

fn judge(subnets: &[ipnetwork::IpNetwork], node: &str, scene: &Scene<'_>) -> Finding {
    let names: Vec<_> = subnets.iter().map(ToString::to_string).collect();
    Finding::advise(
        format!("no address is left in {}", names.join(", ")),
        "the next pod of this node cannot start",
        scene.author.full(node, &scene.range_file(), &scene.sync),
    )
}
