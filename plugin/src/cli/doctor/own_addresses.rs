//! The node's own addresses among those of pods: see [`crate::overlay::own_addresses`].

use ipnetwork::IpNetwork;

use super::scene::Scene;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::overlay::own_addresses;

/// Looks at the addresses of other programs' devices.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let clusters = &scene.look.site.file().cluster_cidrs;
    let found = own_addresses::within(&mut scene.look.kernel, clusters)?;
    Ok(found.iter().map(|(address, dev)| judge(*address, dev)).collect())
}

fn judge(address: IpNetwork, dev: &str) -> Finding {
    let draws_off = match address.prefix() == if address.is_ipv4() { 32 } else { 128 } {
        true => String::new(),
        false => {
            let network = IpNetwork::new(address.network(), address.prefix());
            let network = network.unwrap_or(address);
            format!(", and packets to addresses of {network} that no pod here has go to {dev}")
        }
    };
    Finding::advise(
        format!("{dev} has {address}, which is in the cluster's ranges"),
        format!("no pod can have {}{draws_off}", address.ip()),
        format!(
            "if it is left from another network plugin: ip addr del {address} dev {dev}; else take \
             the address out of the ranges"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_draws_off_is_named() {
        let whole = judge("10.244.1.1/24".parse().unwrap(), "cni0");
        assert_eq!(whole.what, "cni0 has 10.244.1.1/24, which is in the cluster's ranges");
        assert_eq!(
            whole.why,
            "no pod can have 10.244.1.1, and packets to addresses of 10.244.1.0/24 that no pod here \
             has go to cni0"
        );
        let alone = judge("fd00::1/128".parse().unwrap(), "lo");
        assert_eq!(alone.why, "no pod can have fd00::1");
    }
}
