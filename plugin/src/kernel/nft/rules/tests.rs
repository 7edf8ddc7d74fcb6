use super::*;

fn rule_set(vteps: &[&str], cidrs: &[&str]) -> RuleSet {
    RuleSet {
        network: "pods".into(),
        vni: 7,
        port: 4789,
        overlay: "flat.7".into(),
        group: 0x6600_0007,
        vteps: vteps.iter().map(|vtep| vtep.parse().unwrap()).collect(),
        cluster_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        masquerade: true,
    }
}

const V4: &[&str] = &["192.168.50.1", "192.168.50.2"];
const V6: &[&str] = &["fd00:50::1", "fd00:50::2"];
const DUAL: &[&str] = &["10.244.0.0/16", "fd00:10:244::/56"];

/// Chains with the reasons of their rules, in order.
fn outline(want: &RuleSet) -> Vec<(String, Vec<String>)> {
    let comments = |chain: Chain| chain.rules.into_iter().map(|rule| rule.comment).collect();
    want.chains().into_iter().map(|chain| (chain.name.clone(), comments(chain))).collect()
}

#[test]
fn an_ipv4_underlay_takes_five_chains() {
    let expected = [
        (
            "prerouting-7",
            vec![
                "pods: VXLAN from a pod",
                "pods: spoofed source",
                "pods: overlay packet from a VTEP",
                "pods: overlay packet from no VTEP",
            ],
        ),
        (
            "input-7",
            vec![
                "pods: overlay packet",
                "pods: overlay packet from or to no VTEP",
                "pods: path MTU from a pod",
                "pods: path MTU from a pod",
            ],
        ),
        (
            "forward-7",
            vec![
                "pods: to another network's pod",
                "pods: to another network's pod",
                "pods: from another network's pod",
            ],
        ),
        ("output-7", vec!["pods: overlay packet to a VTEP"]),
        ("postrouting-7", vec!["pods: leaves the pod network"; 2]),
    ];
    let expected = expected.map(|(chain, rules)| {
        (chain.to_owned(), rules.into_iter().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(outline(&rule_set(V4, DUAL)), expected);
}

#[test]
fn an_ipv6_underlay_also_minds_fragments() {
    assert_eq!(
        outline(&rule_set(V6, DUAL))[1].1[4..],
        ["pods: another overlay's VNI", "pods: fragment that hides its VNI"]
    );
}

#[test]
fn a_family_takes_a_set_and_masquerading_a_rule() {
    for (masquerade, cidrs, sets, rules) in [
        (true, DUAL, vec!["vteps-7", "cluster4-7", "cluster6-7"], 2),
        (true, &DUAL[..1], vec!["vteps-7", "cluster4-7"], 1),
        (true, &DUAL[1..], vec!["vteps-7", "cluster6-7"], 1),
        (false, DUAL, vec!["vteps-7", "cluster4-7", "cluster6-7"], 0),
    ] {
        let want = RuleSet { masquerade, ..rule_set(V4, cidrs) };
        let names: Vec<String> = want.sets().into_iter().map(|set| set.name).collect();
        assert_eq!(names, sets, "{masquerade} {cidrs:?}");
        let nat = want.chains().into_iter().find(|chain| chain.kind == ChainType::Nat);
        assert_eq!(nat.map_or(0, |chain| chain.rules.len()), rules, "{masquerade} {cidrs:?}");
    }
}

#[test]
fn the_rule_against_strangers_reads_as_documented() {
    let want = rule_set(V4, DUAL);
    let input = want.chains().remove(1);
    assert_eq!((input.hook, input.priority), (Hook::Input, -300));
    let overlay_packet = [
        meta(Meta::Transport),
        compare(Is::Equal, &[17]),
        payload(Header::Transport, 2, 2),
        compare(Is::Equal, &[0x12, 0xb5]),
        payload(Header::Transport, 12, 3),
        compare(Is::Equal, &[0, 0, 7]),
        meta(Meta::Family),
        compare(Is::Equal, &[2]),
    ];
    let between_vteps = [
        payload(Header::Network, 12, 4),
        lookup(Member::In, "vteps-7"),
        payload(Header::Network, 16, 4),
        lookup(Member::In, "vteps-7"),
        verdict(Verdict::Accept),
    ];
    let expected = [overlay_packet.clone().to_vec(), between_vteps.into()].concat();
    assert_eq!(input.rules[0].expressions, expected);
    let expected = [overlay_packet.to_vec(), vec![verdict(Verdict::Drop)]].concat();
    assert_eq!(input.rules[1].expressions, expected);
}

#[test]
fn masquerading_spares_pods_nodes_multicast_and_the_overlay() {
    let want = rule_set(V6, DUAL);
    let nat = want.chains().remove(4);
    let mut overlay = [0; 16];
    overlay[..6].copy_from_slice(b"flat.7");
    assert_eq!(
        nat.rules[1].expressions,
        [
            meta(Meta::OutputName),
            compare(Is::Different, &overlay),
            meta(Meta::Family),
            compare(Is::Equal, &[10]),
            payload(Header::Network, 8, 16),
            lookup(Member::In, "cluster6-7"),
            payload(Header::Network, 24, 16),
            lookup(Member::NotIn, "cluster6-7"),
            payload(Header::Network, 24, 16),
            lookup(Member::NotIn, "vteps-7"),
            payload(Header::Network, 24, 1),
            compare(Is::Different, &[0xff]),
            masquerade(),
        ]
    );
    assert!(
        !nat.rules[0].expressions.contains(&lookup(Member::NotIn, "vteps-7")),
        "an IPv4 packet goes to no IPv6 VTEP"
    );
}

#[test]
fn every_name_bears_the_vni() {
    let want = RuleSet { vni: 16_777_215, ..rule_set(V4, DUAL) };
    let names = Names::of(want.vni);
    assert!(want.chains().iter().all(|chain| names.chains().contains(&chain.name.as_str())));
    assert!(want.sets().iter().all(|set| names.sets().contains(&set.name.as_str())));
    assert!(names.chains().iter().chain(&names.sets()).all(|name| name.ends_with("-16777215")));
}

#[test]
fn the_rule_between_networks_reads_as_documented() {
    let forward = rule_set(V4, DUAL).chains().remove(2);
    assert_eq!(forward.hook, Hook::Forward);
    assert_eq!(
        forward.rules[0].expressions,
        [
            meta(Meta::OutputGroup),
            mask(&0xff00_0000_u32.to_ne_bytes()),
            compare(Is::Equal, &0x6600_0000_u32.to_ne_bytes()),
            meta(Meta::OutputGroup),
            compare(Is::Different, &0x6600_0007_u32.to_ne_bytes()),
            meta(Meta::InputGroup),
            compare(Is::Equal, &0x6600_0007_u32.to_ne_bytes()),
            verdict(Verdict::Drop),
        ]
    );
}
