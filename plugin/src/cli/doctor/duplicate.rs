//! This node's VTEP is on a device of it, and on no other host's.

use std::fs;
use std::net::IpAddr;

use flatnet_conf::Mac;

use super::scene::Scene;
use crate::cli::arp;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::kernel::{Link, Observe as _};

/// `IFA_F_DADFAILED` (linux/if_addr.h): another host answered when the address was added.
const DAD_FAILED: u32 = 0x08;

/// Asks the link; for IPv6 the kernel has done so.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let node = scene.look.site.node.clone();
    let kernel = &mut scene.look.kernel;
    let own = match scene.underlay.place.own {
        Some(index) => kernel.link_by_index(index)?,
        None => None,
    };
    let Some(own) = own else {
        let correct = scene.author.place(&scene.range_file());
        return Ok(vec![nowhere(&node.name, node.vtep, &correct)]);
    };
    let others: Vec<Mac> = match node.vtep {
        // Who else is on the loopback, on a VRF, or on a tunnel without link-layer addresses?
        IpAddr::V4(vtep)
            if own.up && own.dev.name != "lo" && !own.is("vrf") && own.mac.is_some() =>
        {
            let answers = arp::who_has(&own.dev.name, &[vtep], own.mac.unwrap_or(Mac([0; 6])))?;
            let links = kernel.links()?;
            let macs = answers.into_iter().map(|(_, mac)| mac);
            macs.filter(|mac| !is_ours(&links, *mac)).collect()
        }
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(vtep) => {
            let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
            let failed = flags(&table, vtep.to_bits()).is_some_and(|flags| flags & DAD_FAILED != 0);
            return Ok(if failed { vec![duplicate(&node.name, node.vtep, None)] } else { vec![] });
        }
    };
    Ok(others.first().map(|mac| duplicate(&node.name, node.vtep, Some(*mac))).into_iter().collect())
}

/// A node with two devices on one link may answer itself.
fn is_ours(links: &[Link], mac: Mac) -> bool {
    links.iter().any(|link| link.mac == Some(mac))
}

/// The flags of an address in `/proc/net/if_inet6`.
fn flags(table: &str, address: u128) -> Option<u32> {
    let line = table.lines().find(|line| line.starts_with(&format!("{address:032x} ")))?;
    u32::from_str_radix(line.split_whitespace().nth(4)?, 16).ok()
}

fn nowhere(node: &str, vtep: IpAddr, correct: &str) -> Finding {
    Finding::advise(
        format!(
            "this node is taken for {node}, but {vtep}, the VTEP of {node}, is on no device here"
        ),
        "what peers send to its pods arrives elsewhere or nowhere",
        format!(
            "{correct} (behind NAT: the address that this node has itself, and by which its peers reach \
             it), or add {vtep} to the device toward the peers"
        ),
    )
}

fn duplicate(node: &str, vtep: IpAddr, mac: Option<Mac>) -> Finding {
    let (who, there) = match mac {
        Some(mac) => (format!("the host with MAC {mac}"), format!("the host with MAC {mac}")),
        None => ("another host".into(), "that host".into()),
    };
    Finding::advise(
        format!("duplicate VTEP: {who} also has {vtep}, the VTEP of {node}"),
        "what peers send to this node's pods goes now here, now there",
        format!("take {vtep} away from {there}, or give one of the two another address"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_the_kernels_table() {
        let table = "fd000050000000000000000000000001 02 40 00 88   under0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        assert_eq!(flags(table, address("fd00:50::1")), Some(0x88));
        assert_eq!(flags(table, address("::1")), Some(0x80));
        assert_eq!(flags(table, address("::2")), None);
    }

    #[test]
    fn the_other_host_is_named() {
        let found = duplicate("a", "192.0.2.1".parse().unwrap(), Some(Mac([2, 0, 0, 0, 0, 9])));
        assert_eq!(
            found.what,
            "duplicate VTEP: the host with MAC 02:00:00:00:00:09 also has 192.0.2.1, the VTEP of a"
        );
    }
}
