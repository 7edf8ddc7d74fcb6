//! The other networks of this node: two of them cannot have the same addresses.
//!
//! The kernel is asked, not the other networks' files: their range files and state folders may be
//! anywhere, and what matters is what stands.

use std::net::IpAddr;

use flatnet_conf::RangeFile;
use ipnetwork::IpNetwork;

use crate::error::{Clash, Error};
use crate::identity::overlay_name;
use crate::kernel::Observe;
use crate::overlay::desired;

/// Makes sure that no other network of this node has addresses of this one.
///
/// One with the same VNI is found where the device is made, which it has.
///
/// # Errors
/// Code 104 with both networks and what they share; 103 if the kernel cannot be asked.
pub fn refuse_overlap(
    kernel: &mut dyn Observe,
    network: &str,
    file: &RangeFile,
) -> Result<(), Error> {
    let claimed = kernel.cluster_cidrs()?;
    let itself = desired::is_of(network);
    for (vni, theirs) in claimed.into_iter().filter(|(vni, _)| *vni != file.vni) {
        let Some((own, other)) = overlap(&file.cluster_cidrs, theirs) else { continue };
        // Rules alone are left where the device was removed by hand; no pod has these addresses.
        let Some(link) = kernel.link(&overlay_name(vni))? else { continue };
        if itself(&link) {
            continue; // Under an earlier VNI.
        }
        let alias = link.alias.unwrap_or_default();
        let what = format!(
            "the addresses {own} of network {network:?} overlap {other} of {alias:?}, which has {} on this node",
            link.dev.name
        );
        return Err(
            Clash::new(what, "give this network other clusterCIDRs", "the other one").into()
        );
    }
    Ok(())
}

/// The first of `own` that overlaps one of `others`, which overlap each other nowhere, and that one.
fn overlap(own: &[IpNetwork], mut others: Vec<IpNetwork>) -> Option<(IpNetwork, IpNetwork)> {
    // IPv4 comes before IPv6 in the order of addresses, so both families are one line.
    let ends =
        |network: &IpNetwork| -> (IpAddr, IpAddr) { (network.network(), network.broadcast()) };
    others.sort_unstable_by_key(ends);
    own.iter().find_map(|own| {
        let (first, last) = ends(own);
        let after = others.partition_point(|other| ends(other).0 <= last);
        let other = *others.get(after.checked_sub(1)?)?;
        (ends(&other).1 >= first).then_some((*own, other))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::firewall::Masquerade;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Change, Kernel as _, LinkKind};

    fn file(vni: u32, cidrs: &[&str]) -> RangeFile {
        let (cidrs, range) = (serde_json::to_string(cidrs).unwrap(), cidrs[0]);
        let text = format!(
            r#"{{"version":1,"vni":{vni},"clusterCIDRs":{cidrs},
                 "nodes":[{{"name":"a","vtep":"192.0.2.1","ranges":["{range}"]}}]}}"#
        );
        RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap()
    }

    /// A node with the network `storage`, VNI 8, 10.8.0.0/16 and fd00:8::/48.
    fn node() -> Fake {
        let mut node = Fake::default();
        let index = node.add("flat.8", 1450, &[], LinkKind::Other(String::new()));
        let dev = crate::kernel::Dev { index, name: "flat.8".into() };
        node.apply(&dev, &[Change::Alias("flatnet:storage/a".into())]).unwrap();
        let theirs = file(8, &["10.8.0.0/16", "fd00:8::/48"]);
        let (underlay, off) = (BTreeSet::new(), Masquerade::Off);
        let policy = desired::policy("storage", &theirs, &theirs.nodes[0], &underlay, off);
        node.put_rules(&policy.rules()).unwrap();
        node
    }

    fn refused(node: &mut Fake, network: &str, file: &RangeFile) -> Option<String> {
        let error = refuse_overlap(node, network, file).err()?;
        assert_eq!(error.code(), 104);
        Some(error.to_string())
    }

    #[test]
    fn what_overlaps_is_refused() {
        let says = |own: &str, other: &str| {
            Some(format!(
                "the addresses {own} of network \"pods\" overlap {other} of \"flatnet:storage/a\", \
                 which has flat.8 on this node; give this network other clusterCIDRs in the range file, or \
                 the other one"
            ))
        };
        let four = Some("10.8.0.0/16");
        let six = Some("fd00:8::/48");
        let cases: [(&[&str], Option<&str>); 9] = [
            (&["10.8.0.0/16"], four),
            (&["10.8.255.0/24"], four),
            (&["10.0.0.0/8"], four),
            (&["10.7.0.0/16"], None),
            (&["10.9.0.0/16"], None),
            (&["10.7.0.0/16", "fd00:8:0:1::/64"], six),
            (&["fd00:9::/48"], None),
            (&["fd00::/16"], six),
            (&["10.7.0.0/16", "10.9.0.0/16", "fd00:7::/48"], None),
        ];
        for (own, other) in cases {
            let expected = other.and_then(|other| says(own[own.len() - 1], other));
            assert_eq!(refused(&mut node(), "pods", &file(7, own)), expected, "{own:?}");
        }
    }

    #[test]
    fn what_no_other_network_has_is_free() {
        let same = file(7, &["10.8.0.0/16"]);
        // The network itself, whose VNI has changed.
        assert_eq!(refused(&mut node(), "storage", &same), None);
        // One with the same VNI is another error.
        assert_eq!(refused(&mut node(), "pods", &file(8, &["10.8.0.0/16"])), None);
        // A network whose device was removed by hand.
        let mut left = node();
        left.delete_link("flat.8").unwrap();
        assert_eq!(refused(&mut left, "pods", &same), None);
        assert_eq!(refused(&mut Fake::default(), "pods", &same), None);
    }
}
