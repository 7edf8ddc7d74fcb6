//! Whom kube-proxy takes for a pod of this node. What asks a Service and is none gets the node's address.
//!
//! Its rules show it, as it has them for the API server's Service, which every cluster has: by the addresses of pods
//! (`detectLocalMode` ClusterCIDR or NodeCIDR) or by their devices (BridgeInterface, InterfaceNamePrefix).

use flatnet_conf::{Node, Range, printable};
use ipnetwork::IpNetwork;

use super::scene::Scene;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Asks, ChainFamily, Condition, End, NamePattern, Observe as _, Rule};

/// Table and chain of that Service, and where a rule leads what gets the node's address: in nftables mode, and in
/// iptables mode. The names are hashes of the Service's.
const CHAINS: [[&str; 3]; 2] = [
    ["kube-proxy", "service-2QRHZV4L-default/kubernetes/tcp/https", "mark-for-masquerade"],
    ["nat", "KUBE-SVC-NPX46M4PTMTKRN6Y", "KUBE-MARK-MASQ"],
];

/// Looks for them in both families: the Service is in one.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for family in [ChainFamily::V4, ChainFamily::V6] {
        for [table, chain, mark] in CHAINS {
            let rules = scene.look.kernel.rules_of(family, table, chain)?;
            let site = &scene.look.site;
            findings.extend(judge(&rules, mark, &site.node, &site.file().cluster_cidrs));
        }
    }
    Ok(findings)
}

fn judge(rules: &[Rule], mark: &str, node: &Node, clusters: &[IpNetwork]) -> Option<Finding> {
    let marks = |rule: &&Rule| rule.end == End::Jump(mark.to_owned());
    let conditions = rules.iter().filter(marks).flat_map(|rule| &rule.conditions);
    let mut others = conditions.filter(|condition| condition.not);
    let what = others.find_map(|Condition { asks, .. }| match asks {
        Asks::Source(first, last) => {
            let own = node.ranges.iter().map(Range::subnet);
            let own = own.filter(|own| own.is_ipv4() == first.is_ipv4());
            let is_in = |own: &IpNetwork| *first <= own.network() && own.broadcast() <= *last;
            let missing: Vec<String> =
                own.filter(|own| !is_in(own)).map(|own| own.to_string()).collect();
            let pods = format!("the addresses of pods are {first} to {last}");
            (!missing.is_empty()).then(|| (pods, format!("this node's are in {}", some(&missing))))
        }
        Asks::Input(name) if !is_veth(name) => {
            let pods = format!("pods are behind devices called {}", printable(&name.to_string()));
            Some((pods, "flatnet's are behind devices called \"veth*\"".to_owned()))
        }
        _ => None,
    });
    let (believed, right) = what?;
    let clusters: Vec<String> = clusters.iter().map(ToString::to_string).collect();
    Some(Finding::advise(
        format!("to kube-proxy {believed}, but {right}"),
        "what pods here ask a Service for comes from the node's address: servers and network policies do not \
         see which pod asks",
        format!(
            "in kube-proxy's configuration (kubectl --namespace kube-system edit configmap kube-proxy) set \
             detectLocalMode: ClusterCIDR and clusterCIDR: {}, and restart it (kubectl --namespace \
             kube-system rollout restart daemonset kube-proxy)",
            clusters.join(",")
        ),
    ))
}

/// Whether the node's ends of our veth pairs are called so.
fn is_veth(name: &NamePattern) -> bool {
    matches!(name, NamePattern::Beginning(name) if "veth".starts_with(name.as_str()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flatnet_conf::RangeFile;

    use super::*;

    fn found(asks: Asks, not: bool, end: &str) -> Option<String> {
        let text = r#"{"version":1,"vni":7,"clusterCIDRs":["10.1.0.0/16","fd00::/56"],"nodes":[
            {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24","10.1.9.0/24","fd00:0:0:1::/64"]}]}"#;
        let file = RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap();
        let conditions = vec![Condition { not, asks }];
        let rules = [Rule { number: 1, conditions, end: End::Jump(end.to_owned()) }];
        let finding = judge(&rules, "KUBE-MARK-MASQ", &file.nodes[0], &file.cluster_cidrs)?;
        assert!(finding.words().contains(" clusterCIDR: 10.1.0.0/16,fd00::/56,"));
        Some(finding.what)
    }

    fn source(first: &str, last: &str) -> Asks {
        Asks::Source(first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn all_of_the_nodes_ranges_must_be_pods() {
        let mark = "KUBE-MARK-MASQ";
        let wide = source("10.1.0.0", "10.1.255.255");
        assert_eq!(found(wide, true, mark), None);
        assert_eq!(found(source("fd00::", "fd00::ff:ffff:ffff:ffff:ffff"), true, mark), None);
        let own = source("10.1.1.0", "10.1.1.255");
        assert_eq!(
            found(own, true, mark).unwrap(),
            "to kube-proxy the addresses of pods are 10.1.1.0 to 10.1.1.255, but this node's are in 10.1.9.0/24"
        );
        let other = source("10.244.0.0", "10.244.255.255");
        assert!(found(other.clone(), true, mark).unwrap().ends_with("10.1.1.0/24, 10.1.9.0/24"));
        assert_eq!(found(other.clone(), false, mark), None, "of an external address");
        assert_eq!(found(other, true, "KUBE-SEP-X"), None);
    }

    #[test]
    fn devices_are_ours() {
        let by = |name| found(Asks::Input(name), true, "KUBE-MARK-MASQ");
        assert_eq!(by(NamePattern::Beginning("veth".into())), None);
        assert_eq!(
            by(NamePattern::Exactly("cni0".into())).unwrap(),
            "to kube-proxy pods are behind devices called \"cni0\", but flatnet's are behind devices called \"veth*\""
        );
        assert!(by(NamePattern::Exactly("veth".into())).is_some());
        assert!(by(NamePattern::Beginning("cali".into())).is_some());
    }
}
