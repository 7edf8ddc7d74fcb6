use super::*;

fn rule_set(vteps: &[&str], cidrs: &[&str]) -> RuleSet {
    RuleSet {
        network: "pods".into(),
        vni: 7,
        port: 4789,
        overlay: "flat.7".into(),
        group: 0x6600_0007,
        vtep: vteps[0].parse().unwrap(),
        vteps: vteps.iter().map(|vtep| vtep.parse().unwrap()).collect(),
        cluster_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        masquerade: true,
    }
}

const V4: &[&str] = &["192.168.50.1", "192.168.50.2"];
const V6: &[&str] = &["fd00:50::1", "fd00:50::2"];
const DUAL: &[&str] = &["10.244.0.0/16", "fd00:10:244::/56"];

/// Chains with the reasons of their rules, in order.
fn outline(want: &RuleSet, in_company: bool) -> Vec<(String, Vec<String>)> {
    let comments = |chain: Chain| chain.rules.into_iter().map(|rule| rule.comment).collect();
    let chains = want.chains(in_company).into_iter();
    chains.map(|chain| (chain.name.clone(), comments(chain))).collect()
}

#[test]
fn each_chain_is_there_for_a_reason() {
    let always = [
        ("pod-7", &["spoofed source", "path MTU from a pod", "path MTU from a pod"][..]),
        (
            "vxlan-7",
            &[
                "overlay packet from a VTEP",
                "VXLAN from a pod",
                "overlay packet from no VTEP",
                "overlay packet to no VTEP",
                "from a pod",
            ],
        ),
        ("prerouting-7", &["VXLAN", "from a pod"]),
    ];
    let input: (&str, &[&str]) =
        ("input-7", &["overlay packet", "overlay packet from or to no VTEP"]);
    let input_v6: (&str, &[&str]) = (
        "input-7",
        &[
            "overlay packet",
            "overlay packet from or to no VTEP",
            "another overlay's VNI",
            "fragment that hides its VNI",
        ],
    );
    let forward: (&str, &[&str]) = ("forward-7", &["to another network", "from another network"]);
    let output: (&str, &[&str]) = ("output-7", &["overlay packet"]);
    let nat: (&str, &[&str]) =
        ("postrouting-7", &["leaves the pod network", "leaves the pod network"]);
    for (vteps, masquerade, in_company, then) in [
        (V4, true, false, vec![output, nat]),
        (V4, true, true, vec![forward, output, nat]),
        (V4, false, false, vec![input, output]),
        (V6, true, false, vec![output, nat]),
        (V6, false, true, vec![input_v6, forward, output]),
    ] {
        let want = RuleSet { masquerade, ..rule_set(vteps, DUAL) };
        let expected: Vec<_> = always
            .iter()
            .chain(&then)
            .map(|(chain, rules)| {
                let comment = |why: &&str| format!("pods: {why}");
                ((*chain).to_owned(), rules.iter().map(comment).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(outline(&want, in_company), expected, "{vteps:?} {masquerade} {in_company}");
    }
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
        let is_nat = |chain: &Chain| chain.base.is_some_and(|base| base.kind == ChainType::Nat);
        let nat = want.chains(false).into_iter().find(is_nat);
        assert_eq!(nat.map_or(0, |chain| chain.rules.len()), rules, "{masquerade} {cidrs:?}");
    }
}

#[test]
fn the_rule_against_strangers_reads_as_documented() {
    let chains = rule_set(V4, DUAL).chains(false);
    let hooks = |chain: &Chain| chain.base.map(|base| (base.hook, base.priority));
    assert_eq!(hooks(&chains[2]), Some((Hook::Prerouting, -300)));
    let to_port = [
        meta(Meta::Transport),
        compare(Is::Equal, &[17]),
        payload(Header::Transport, 2, 2),
        compare(Is::Equal, &[0x12, 0xb5]),
    ];
    let expected = [to_port.to_vec(), vec![goto("vxlan-7")]].concat();
    assert_eq!(chains[2].rules[0].expressions, expected);
    assert_eq!(hooks(&chains[1]), None);
    let our_vni = [payload(Header::Transport, 12, 4), compare(Is::Equal, &[0, 0, 7, 0])];
    let from_a_vtep = [
        meta(Meta::InputGroup),
        compare(Is::Different, &0x6600_0007_u32.to_ne_bytes()),
        meta(Meta::Family),
        compare(Is::Equal, &[2]),
        payload(Header::Network, 16, 4),
        compare(Is::Equal, &[192, 168, 50, 1]),
        payload(Header::Network, 12, 4),
        lookup(Member::In, "vteps-7"),
        notrack(),
        verdict(Verdict::Accept),
    ];
    let expected = [&our_vni[..], &from_a_vtep].concat();
    assert_eq!(chains[1].rules[0].expressions, expected);
    let for_this_node =
        [destination_type(), compare(Is::Different, &1_u32.to_ne_bytes()), verdict(Verdict::Drop)];
    assert_eq!(chains[1].rules[3].expressions, [&our_vni[..], &for_this_node].concat());
}

#[test]
fn masquerading_spares_pods_nodes_multicast_and_the_overlay() {
    let want = rule_set(V6, DUAL);
    let nat = want.chains(false).remove(4);
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
    assert!(want.chains(true).iter().all(|chain| names.chains().contains(&chain.name.as_str())));
    assert!(want.sets().iter().all(|set| names.sets().contains(&set.name.as_str())));
    assert!(names.chains().iter().chain(&names.sets()).all(|name| name.ends_with("-16777215")));
}

#[test]
fn the_rule_between_networks_reads_as_documented() {
    let forward = rule_set(V4, DUAL).chains(true).remove(3);
    assert_eq!(forward.base.map(|base| base.hook), Some(Hook::Forward));
    let masked = |side, bits: u32, is, value: u32| {
        [meta(side), mask(&bits.to_ne_bytes()), compare(is, &value.to_ne_bytes())]
    };
    let between = |ours, theirs| {
        [
            &masked(ours, 0xfeff_ffff, Is::Equal, 0x6600_0007)[..],
            &masked(theirs, 0xfe00_0000, Is::Equal, 0x6600_0000),
            &masked(theirs, 0x00ff_ffff, Is::Different, 7),
            &[verdict(Verdict::Drop)],
        ]
        .concat()
    };
    assert_eq!(forward.rules[0].expressions, between(Meta::InputGroup, Meta::OutputGroup));
    assert_eq!(forward.rules[1].expressions, between(Meta::OutputGroup, Meta::InputGroup));
}
