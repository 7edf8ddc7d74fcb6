//! What kube-proxy takes for pods, by its rules as it writes them. `tests/cluster` has it from kube-proxy itself.

use std::fs;

use super::scene::Scene;

/// Its rules for the API server's Service, in iptables mode and in nftables mode, where pods are what has this source.
fn rules(local: &str) -> [String; 2] {
    [
        format!(
            "table ip nat {{
                chain KUBE-MARK-MASQ {{ meta mark set meta mark or 0x4000; }}
                chain KUBE-SVC-NPX46M4PTMTKRN6Y {{
                    {local} ip daddr 10.96.0.1 tcp dport 443 counter jump KUBE-MARK-MASQ
                }}
            }}"
        ),
        format!(
            "table ip kube-proxy {{
                chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
                chain service-2QRHZV4L-default/kubernetes/tcp/https {{
                    ip daddr 10.96.0.1 tcp dport 443 {local} jump mark-for-masquerade
                }}
            }}"
        ),
    ]
}

#[test]
fn pods_that_are_none_to_it_are_told() {
    let scene = Scene::new();
    let file = scene.cluster.folder().join("rules");
    let path = file.display().to_string();
    let put = |text: &str| {
        fs::write(&file, text).expect("write rules");
        scene.spoil(&[&format!("nft -f {path}")]);
    };
    for (right, wrong, words) in [
        (
            "ip saddr != 10.244.0.0/16",
            "ip saddr != 10.0.0.0/16",
            "the addresses of pods are 10.0.0.0 to 10.0.255.255, but this node's are in 10.244.1.0/24",
        ),
        (
            "iifname != \"veth*\"",
            "iifname != \"cni0\"",
            "pods are behind devices called \"cni0\", but flatnet's",
        ),
    ] {
        for mode in [0, 1] {
            put(&rules(right)[mode]);
            scene.assert_healthy();
            put(&format!("flush ruleset ip\n{}", rules(wrong)[mode]));
            scene.advised(words, "clusterCIDR: 10.244.0.0/16,fd00:10:244::/56");
            put("flush ruleset ip");
        }
    }
    scene.assert_healthy();
}
