//! The network between the nodes, as this one sees it: looked at once for all who need it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};
use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::kernel::{Kernel, Path};

/// How many peers are asked about of those that are routed alike: among equal-cost nexthops the
/// kernel chooses by a hash of the address.
const ASKED: usize = 16;

/// The ways to the peers.
#[derive(Debug)]
pub struct Underlay {
    /// VTEPs and the way there, at least one for each way; `None` where there is no route now.
    pub peers: Vec<(IpAddr, Option<Path>)>,
    /// Index of the device that has this node's VTEP, if any has.
    pub own: Option<u32>,
    devices: BTreeSet<String>,
}

impl Underlay {
    /// Looks up the ways to the peers of `node`. Ten thousand lookups would take longer than all
    /// the rest, and most peers are reached by the same few routes.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look(kernel: &mut dyn Kernel, file: &RangeFile, node: &Node) -> Result<Self, Error> {
        let others = file.nodes.iter().filter(|peer| peer.name != node.name);
        let mut vteps: Vec<IpAddr> = others.map(|peer| peer.vtep).collect();
        vteps.sort_unstable();
        let asked: Vec<IpAddr> = match file.direct_routing {
            // Each peer's own way matters.
            true => vteps,
            false => routed_alike(&vteps, &kernel.distinctions(node.vtep.is_ipv4())?)
                .flat_map(|alike| alike.iter().take(ASKED))
                .copied()
                .collect(),
        };
        let paths = kernel.paths(&asked)?;
        let addresses = kernel.addresses()?;
        let own = addresses.iter().find(|(_, address)| address.ip() == node.vtep);
        let own = own.map(|(dev, _)| *dev);
        let toward: BTreeSet<u32> =
            paths.iter().flatten().map(|path| path.dev).chain(own).collect();
        let mut devices = BTreeSet::new();
        for index in toward {
            devices.extend(kernel.link_by_index(index)?.map(|link| link.dev.name));
        }
        Ok(Self { peers: asked.into_iter().zip(paths).collect(), own, devices })
    }

    /// The names of the devices by which outer packets of peers may come in: those toward the peers,
    /// and the one with the VTEP.
    pub fn devices(&self) -> &BTreeSet<String> {
        &self.devices
    }

    /// The peers that no router stands before, and the index of the uplink to each; all of them where
    /// the range file asks for direct routing.
    pub fn adjacent(&self) -> HashMap<IpAddr, u32> {
        let paths = self.peers.iter().filter_map(|(vtep, path)| Some((*vtep, (*path)?)));
        paths.filter(|(_, path)| path.on_link).map(|(vtep, path)| (vtep, path.dev)).collect()
    }
}

/// Divides sorted addresses into runs, none of which any of the networks tells apart.
fn routed_alike<'a>(
    addresses: &'a [IpAddr],
    networks: &[IpNetwork],
) -> impl Iterator<Item = &'a [IpAddr]> + use<'a> {
    let mut cuts = vec![0, addresses.len()];
    for network in networks {
        let first = addresses.partition_point(|address| *address < network.network());
        let end = addresses.partition_point(|address| *address <= network.broadcast());
        // Most networks hold no VTEP: a pod's, or a peer's range.
        if first < end {
            cuts.extend([first, end]);
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let runs: Vec<_> = cuts.windows(2).map(|ends| &addresses[ends[0]..ends[1]]).collect();
    runs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(addresses: &[&str], networks: &[&str]) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let networks: Vec<_> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let text = |run: &[IpAddr]| run.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        routed_alike(&addresses, &networks).map(text).collect()
    }

    #[test]
    fn what_a_network_tells_apart_is_divided() {
        let all = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.2.1"];
        assert_eq!(divided(&all, &[]), ["10.0.0.1 10.0.0.2 10.0.1.1 10.0.2.1"]);
        assert_eq!(divided(&all, &["0.0.0.0/0", "10.9.0.0/16"]).len(), 1, "all in it, or none");
        assert_eq!(divided(&all, &["10.0.0.0/24"]), ["10.0.0.1 10.0.0.2", "10.0.1.1 10.0.2.1"]);
        assert_eq!(
            divided(&all, &["10.0.1.0/24", "10.0.0.0/23", "10.0.1.1/32"]),
            ["10.0.0.1 10.0.0.2", "10.0.1.1", "10.0.2.1"]
        );
        assert_eq!(
            divided(&["fd00::1", "fd00::2"], &["::/0", "fd00::2/128", "0.0.0.0/0"]).len(),
            2
        );
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(divided(&[], &["0.0.0.0/0"]), [""; 0]);
    }

    /// What the division promises: the same networks hold all of a run.
    #[test]
    fn one_of_a_run_stands_for_all() {
        let addresses: Vec<IpAddr> = (0..=255).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let networks: Vec<IpNetwork> =
            [(0, 25), (128, 26), (130, 31), (64, 28), (70, 32), (192, 32)]
                .map(|(n, length)| IpNetwork::new([10, 0, 0, n].into(), length).unwrap())
                .to_vec();
        let mut seen = 0;
        for run in routed_alike(&addresses, &networks) {
            let holders =
                |of: &IpAddr| networks.iter().map(|n| n.contains(*of)).collect::<Vec<_>>();
            assert!(run.iter().all(|address| holders(address) == holders(&run[0])), "{run:?}");
            seen += run.len();
        }
        assert_eq!(seen, addresses.len());
    }
}
