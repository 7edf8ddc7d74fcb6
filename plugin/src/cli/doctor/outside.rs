//! Living pods in ranges that this node has no more: see [`crate::attachment::outside`].

use std::collections::BTreeMap;

use super::scene::Scene;
use crate::attachment::outside::{self, Outside};
use crate::cli::finding::{Finding, some};
use crate::cli::pod_name::pod_name;
use crate::error::Error;

/// Looks where the addresses of this node's pods are in the range file.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let records = scene.look.attachments(scene.conf)?.leases;
    let site = &scene.look.site;
    let mut by_owner = BTreeMap::<Option<&str>, Vec<Outside<'_>>>::new();
    for outside in outside::attachments(site.file(), &site.node, &records) {
        by_owner.entry(outside.owner.map(|node| &node.name[..])).or_default().push(outside);
    }
    let node = &site.node.name;
    let mend = scene.author.outside(node, &scene.range_file());
    Ok(by_owner.iter().map(|(owner, found)| judge(node, *owner, found, &mend)).collect())
}

fn judge(node: &str, owner: Option<&str>, found: &[Outside<'_>], mend: &str) -> Finding {
    let pods: Vec<_> = found
        .iter()
        .map(|outside| format!("{} ({})", pod_name(outside.holder), outside.address))
        .collect();
    let (count, pods) = (found.len(), some(&pods));
    let addresses = if count == 1 { "1 address".into() } else { format!("{count} addresses") };
    let why = match owner {
        Some(owner) => format!(
            "other nodes send to {owner} what is meant for them, and if {owner} gives such an address \
             to a pod of its own, pods here reach these instead"
        ),
        None => "no other node sends here what is meant for them".into(),
    };
    let place =
        owner.map_or_else(|| "no node's ranges".into(), |owner| format!("ranges of {owner}"));
    Finding::advise(format!("{addresses} of pods on {node} in {place}: {pods}"), why, mend)
}

#[cfg(test)]
mod tests {
    use flatnet_conf::RangeFile;
    use flatnet_ipam::Holder;

    use super::*;

    #[test]
    fn whose_the_range_is_now_is_named() {
        let text =
            br#"{"version":1,"nodes":[{"name":"b","vtep":"192.0.2.2","ranges":["10.1.1.0/24"]}]}"#;
        let file = RangeFile::parse(std::path::Path::new("t.json"), text).unwrap();
        let holder = &Holder { container_id: "web".into(), ..Holder::default() };
        let address = "10.1.1.7".parse().unwrap();
        let shadowed = Outside { holder, address, owner: file.nodes.first() };
        let found = judge("a", Some("b"), &[shadowed, shadowed], "mend it");
        let what = "2 addresses of pods on a in ranges of b: web (10.1.1.7), web (10.1.1.7)";
        assert_eq!(found.what, what);
        assert!(found.why.starts_with("other nodes send to b what"), "{}", found.why);
        let alone = judge("a", None, &[Outside { owner: None, ..shadowed }], "mend it");
        assert_eq!(alone.what, "1 address of pods on a in no node's ranges: web (10.1.1.7)");
        assert_eq!(alone.why, "no other node sends here what is meant for them");
    }
}
