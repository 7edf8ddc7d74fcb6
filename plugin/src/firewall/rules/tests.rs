use super::*;
use crate::kernel::nft::expression::{
    ACCEPT, Expression, Header, Member, MetaKey, Operator, Tracked, compare, destination_type,
    goto, jump, lookup, mask, meta, notrack, payload, reverse_path, set_bits, set_meta, set_word,
    tracked,
};

pub(super) fn policy(vteps: &[&str], cidrs: &[&str]) -> Policy {
    Policy {
        fast_path: false,
        network: "pods".into(),
        vni: 7,
        port: 4789,
        group: 0x6600_0007,
        overlay_group: 0x6700_0007,
        vtep: vteps[0].parse().unwrap(),
        vteps: vteps.iter().map(|vtep| vtep.parse().unwrap()).collect(),
        underlay: vec!["eth0".into(), "eth1".into()],
        gateway: [169, 254, 1, 1].into(),
        cluster_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        masquerade: Masquerade::On,
    }
}

pub(super) const V4: &[&str] = &["192.168.50.1", "192.168.50.2"];
pub(super) const V6: &[&str] = &["fd00:50::1", "fd00:50::2"];
pub(super) const DUAL: &[&str] = &["10.244.0.0/16", "fd00:10:244::/56"];

/// Chains with the reasons of their rules, in order.
fn outline(want: &Policy, in_company: bool) -> Vec<(String, Vec<String>)> {
    let comments = |chain: Chain| chain.rules.into_iter().map(|rule| rule.comment).collect();
    let RuleSet { chains, apart, .. } = want.rules();
    let chains = chains.into_iter().chain(in_company.then_some(apart));
    chains.map(|chain| (chain.name.clone(), comments(chain))).collect()
}

#[test]
fn each_chain_is_there_for_a_reason() {
    let ours = "overlay packet";
    let always = [
        ("source-7", &["by the underlay", "by the underlay", "spoofed source"][..]),
        (
            "vxlan-7",
            &[
                ours,
                ours,
                ours,
                "VXLAN from a pod",
                "overlay packet out of the pod network",
                "overlay packet between peers",
                "overlay packet between peers",
                "overlay packet between peers",
                "overlay packet from no VTEP",
                "overlay packet to no VTEP",
                "not wrapped",
                "under a VTEP's address",
            ],
        ),
        ("path-mtu-7", &["path MTU to no pod", "path MTU to no pod", "path MTU to the node"]),
        (
            "pod-7",
            &[
                "spoofed source",
                "to the loopback",
                "to the gateway",
                "path MTU from a pod",
                "path MTU from a pod",
            ],
        ),
        (
            "overlay-7",
            &[
                "wrapped by no peer",
                "unwrapped",
                "path MTU of the underlay",
                "path MTU of the underlay",
            ],
        ),
        (
            "prerouting-7",
            &["VXLAN", "from a pod", "from the overlay", "a pod's source", "a pod's source"],
        ),
        ("user-7", &["not the overlay's", "perhaps in pieces"]),
        ("program-7", &["to where they should not", "to a pod", "to a pod"]),
        ("output-7", &["by a program", ours]),
        ("local-7", &["by a program"]),
    ];
    type Outline<'a> = (&'a str, &'a [&'a str]);
    let (nat, on, by) = ("VXLAN by NAT", "VXLAN sent on", "from a VTEP's port");
    let loopback = "to the loopback by NAT";
    let forward: [Outline<'_>; 1] =
        [("forward-7", &["to another network", "from another network"])];
    let plain: [Outline<'_>; 2] =
        [("landing-7", &[loopback, loopback]), ("departing-7", &[by, on, on])];
    let [leaves, enters] = ["leaves the pod network", "enters the pod network"];
    let landing: Outline<'_> = ("landing-7", &[nat, nat, loopback, loopback]);
    let postrouting: Outline<'_> = ("postrouting-7", &[leaves, enters, leaves, enters]);
    let of_v4: [Outline<'_>; 3] =
        [landing, ("departing-7", &[by, on, on, nat, nat, "leaves for a node"]), postrouting];
    let of_v6: [Outline<'_>; 3] =
        [landing, ("departing-7", &[by, on, on, nat, nat, nat, nat]), postrouting];
    let may_become_a_vtep = "overlay packet out of the pod network";
    for (vteps, masquerade, in_company, then) in [
        (V4, Masquerade::On, false, of_v4.to_vec()),
        (V6, Masquerade::SparesNodes, true, [&of_v6[..], &forward].concat()),
        (V4, Masquerade::Off, false, plain.to_vec()),
        (V6, Masquerade::Off, true, [&plain[..], &forward].concat()),
    ] {
        let want = Policy { masquerade, ..policy(vteps, DUAL) };
        let expected: Vec<_> = always
            .iter()
            .chain(&then)
            .map(|(chain, rules)| {
                let masked_v6 = masquerade == Masquerade::SparesNodes;
                let here = |why: &&&str| masked_v6 || **why != may_become_a_vtep;
                let comment = |why: &&str| format!("pods: {why}");
                let comments = rules.iter().filter(here).map(comment).collect::<Vec<_>>();
                ((*chain).to_owned(), comments)
            })
            .collect();
        assert_eq!(outline(&want, in_company), expected, "{vteps:?} {masquerade:?} {in_company}");
    }
}

#[test]
fn a_family_takes_a_set_and_masquerading_two_rules() {
    for (masquerade, cidrs, sets, rules) in [
        (Masquerade::On, DUAL, vec!["vteps-7", "cluster4-7", "cluster6-7"], 4),
        (Masquerade::On, &DUAL[..1], vec!["vteps-7", "cluster4-7"], 2),
        (Masquerade::SparesNodes, &DUAL[1..], vec!["vteps-7", "cluster6-7"], 2),
        (Masquerade::Off, DUAL, vec!["vteps-7", "cluster4-7", "cluster6-7"], 0),
    ] {
        let want = Policy { masquerade, ..policy(V4, cidrs) };
        let names: Vec<String> = want.sets().into_iter().map(|set| set.name).collect();
        assert_eq!(names, sets, "{masquerade:?} {cidrs:?}");
        let is_nat = |chain: &Chain| chain.base.is_some_and(|base| base.kind == ChainType::Nat);
        let named = |chain: &Chain| chain.name == "postrouting-7" && is_nat(chain);
        let nat = want.rules().chains.into_iter().find(named);
        assert_eq!(nat.map_or(0, |chain| chain.rules.len()), rules, "{masquerade:?} {cidrs:?}");
    }
}

/// The chain of that name.
pub(super) fn chain(want: &Policy, name: &str) -> Chain {
    all_chains(want).find(|chain| chain.name == name).unwrap()
}

pub(super) fn all_chains(want: &Policy) -> impl Iterator<Item = Chain> + use<> {
    let RuleSet { chains, apart, .. } = want.rules();
    chains.into_iter().chain([apart])
}

pub(super) fn hook(chain: &Chain) -> Option<(InetHookNumber, i32)> {
    chain.base.map(|base| (base.hook, base.priority))
}

pub(super) fn to_port() -> [Expression; 4] {
    [
        payload(Header::Transport, 2, 2),
        compare(Operator::Equal, &[0x12, 0xb5]),
        meta(MetaKey::L4Proto),
        compare(Operator::Equal, &[17]),
    ]
}

fn to_us() -> [Expression; 4] {
    [
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, &[2]),
        payload(Header::Network, 16, 4),
        compare(Operator::Equal, &[192, 168, 50, 1]),
    ]
}

fn our_vni(is: Operator) -> [Expression; 2] {
    [payload(Header::Transport, 12, 4), compare(is, &[0, 0, 7, 0])]
}

fn from_a_peer() -> [Expression; 3] {
    [
        payload(Header::Network, 12, 4),
        compare(Operator::NotEqual, &[192, 168, 50, 1]),
        lookup(Member::In, "vteps-7"),
    ]
}

fn wrapped_by_a_device() -> [Expression; 4] {
    [
        payload(Header::Transport, 0, 2),
        compare(Operator::GreatherThanEqual, &[0xc0, 0]),
        payload(Header::Network, 8, 1),
        compare(Operator::GreaterThan, &[16]),
    ]
}

#[test]
fn what_is_received_reads_as_documented() {
    let mark = 0x6700_0007_u32.to_ne_bytes();
    let marked = set_meta(MetaKey::Priority, &mark);
    for masquerade in [Masquerade::On, Masquerade::Off] {
        let want = Policy { masquerade, ..policy(V4, DUAL) };
        let prerouting = chain(&want, "prerouting-7");
        assert_eq!(hook(&prerouting), Some((InetHookNumber::PreRouting, -300)));
        assert_eq!(prerouting.rules[0].expressions, [&to_port()[..], &[jump("vxlan-7")]].concat());

        let vxlan = chain(&want, "vxlan-7");
        assert_eq!(hook(&vxlan), None);
        let named = |device: &[u8]| {
            let mut name = [0; 16];
            name[..4].copy_from_slice(device);
            [meta(MetaKey::Iifname), compare(Operator::Equal, &name)]
        };
        let leads_back = [reverse_path(), compare(Operator::NotEqual, &[0; 4])];
        for (n, by) in [named(b"eth0"), named(b"eth1"), leads_back].into_iter().enumerate() {
            let vni = our_vni(Operator::Equal);
            let from = [&vni[..], &to_us(), &from_a_peer(), &wrapped_by_a_device(), &by].concat();
            let untracked = [notrack(), verdict(ACCEPT)];
            assert_eq!(vxlan.rules[n].expressions, [&from[..], &marked, &untracked].concat());
        }
        let for_this_node = [destination_type(), compare(Operator::NotEqual, &1_u32.to_ne_bytes())];
        let drop = [verdict(DROP)];
        let between = &vxlan.rules[4].expressions;
        let to_a_peer = [
            meta(MetaKey::Nfproto),
            compare(Operator::Equal, &[2]),
            payload(Header::Network, 16, 4),
            compare(Operator::NotEqual, &[192, 168, 50, 1]),
            lookup(Member::In, "vteps-7"),
        ];
        let from = [&from_a_peer()[..], &wrapped_by_a_device(), &named(b"eth0")].concat();
        let untracked = [notrack(), verdict(ACCEPT)];
        let vni = our_vni(Operator::Equal);
        assert_eq!(*between, [&vni[..], &to_a_peer, &from, &untracked].concat());
        let to_no_vtep = &vxlan.rules[8].expressions;
        assert_eq!(*to_no_vtep, [&our_vni(Operator::Equal)[..], &for_this_node, &drop].concat());
    }
    let plain = Policy { masquerade: Masquerade::Off, ..policy(V4, DUAL) };
    let unmarked = [meta(MetaKey::Priority), compare(Operator::NotEqual, &mark)];
    let overlay = chain(&plain, "overlay-7");
    let drop = [verdict(DROP)];
    assert_eq!(overlay.rules[0].expressions, [&unmarked[..], &drop].concat());
    assert_eq!(overlay.rules[1].expressions, set_meta(MetaKey::Priority, &[0; 4]));
    let astray = [reverse_path(), compare(Operator::Equal, &[0; 4]), verdict(DROP)];
    assert_eq!(chain(&plain, "pod-7").rules[0].expressions, astray);
}

pub(super) fn to_a_vtep() -> [Expression; 4] {
    [
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, &[2]),
        payload(Header::Network, 16, 4),
        lookup(Member::In, "vteps-7"),
    ]
}

#[test]
fn what_users_send_reads_as_documented() {
    let want = policy(V4, DUAL);
    let group = 0x6700_0007_u32.to_ne_bytes();
    let by_a_socket = [meta(MetaKey::SocketUserId), compare(Operator::GreatherThanEqual, &[0; 4])];
    let local = chain(&want, "local-7");
    assert_eq!(hook(&local), Some((InetHookNumber::LocalOut, 300)), "behind destination NAT");
    let to_program = [&by_a_socket[..], &[goto("program-7")]].concat();
    assert_eq!(local.rules[0].expressions, to_program);
    let to_a_pod = [
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, &[2]),
        payload(Header::Network, 16, 4),
        lookup(Member::In, "cluster4-7"),
    ];
    let program = chain(&want, "program-7");
    assert_eq!(program.rules[0].expressions, [jump("user-7")]);
    let marked = [&to_a_pod[..], &set_meta(MetaKey::Priority, &group)].concat();
    assert_eq!(program.rules[1].expressions, marked);
    let output = chain(&want, "output-7");
    assert_eq!(hook(&output), Some((InetHookNumber::LocalOut, -300)), "before conntrack");
    let to_user = [&by_a_socket[..], &[jump("user-7")]].concat();
    assert_eq!(output.rules[0].expressions, to_user);
    let overlay_packet = [&to_port()[..], &our_vni(Operator::Equal)].concat();
    assert_eq!(output.rules[1].expressions, [&overlay_packet[..], &[notrack()]].concat());
    let user = chain(&want, "user-7");
    let unmarked = [meta(MetaKey::Priority), compare(Operator::NotEqual, &group)];
    let whole = [&overlay_packet[..], &unmarked, &to_a_vtep(), &[verdict(DROP)]].concat();
    assert_eq!(user.rules[0].expressions, whole);
    let few_hops = set_word(8, 0x00ff, 0x1000, Some(10));
    let pieces = [&to_port()[..], &in_pieces(), &to_a_vtep(), &few_hops].concat();
    assert_eq!(user.rules[1].expressions, pieces);
}

/// With a checksum, long, and not as something for a pod.
fn in_pieces() -> [Expression; 7] {
    [
        meta(MetaKey::Priority),
        mask(&0xff00_0000_u32.to_ne_bytes()),
        compare(Operator::NotEqual, &0x6700_0000_u32.to_ne_bytes()),
        payload(Header::Transport, 6, 2),
        compare(Operator::NotEqual, &[0; 2]),
        payload(Header::Transport, 4, 2),
        compare(Operator::GreatherThanEqual, &[0, 52]),
    ]
}

#[test]
fn every_name_bears_the_vni() {
    let want = Policy { vni: 16_777_215, ..policy(V4, DUAL) };
    let names = Names::of(want.vni);
    assert!(all_chains(&want).all(|chain| names.chains().contains(&chain.name.as_str())));
    assert!(want.sets().iter().all(|set| names.sets().contains(&set.name.as_str())));
    assert!(names.chains().iter().chain(&names.sets()).all(|name| name.ends_with("-16777215")));
}

#[test]
fn the_rule_between_networks_reads_as_documented() {
    let forward = chain(&policy(V4, DUAL), "forward-7");
    assert_eq!(forward.base.map(|base| base.hook), Some(InetHookNumber::Forward));
    let masked = |side, bits: u32, is, value: u32| {
        [meta(side), mask(&bits.to_ne_bytes()), compare(is, &value.to_ne_bytes())]
    };
    let between = |ours, theirs| {
        [
            &masked(ours, 0xfeff_ffff, Operator::Equal, 0x6600_0007)[..],
            &masked(theirs, 0xfe00_0000, Operator::Equal, 0x6600_0000),
            &masked(theirs, 0x00ff_ffff, Operator::NotEqual, 7),
            &[verdict(DROP)],
        ]
        .concat()
    };
    assert_eq!(forward.rules[0].expressions, between(MetaKey::Iifgroup, MetaKey::Oifgroup));
    assert_eq!(forward.rules[1].expressions, between(MetaKey::Oifgroup, MetaKey::Iifgroup));
}

#[test]
fn the_rule_that_the_fast_path_learns_by_reads_as_documented() {
    assert!(!all_chains(&policy(V4, DUAL)).any(|chain| chain.name == "fast-path-7"));
    let want = Policy { fast_path: true, ..policy(V4, DUAL) };
    let passed = chain(&want, "fast-path-7");
    assert_eq!(hook(&passed), Some((InetHookNumber::Forward, i32::MAX)), "behind all others");
    let group = |of| {
        let bits = 0xfeff_ffff_u32.to_ne_bytes();
        [meta(of), mask(&bits), compare(Operator::Equal, &0x6600_0007_u32.to_ne_bytes())]
    };
    let ct = |key, bits: u32, is| [tracked(key), mask(&bits.to_ne_bytes()), compare(is, &[0; 4])];
    let expected = [
        &group(MetaKey::Iifgroup)[..],
        &group(MetaKey::Oifgroup),
        &ct(Tracked::State, 2, Operator::NotEqual),
        &ct(Tracked::Status, 0x2070, Operator::Equal),
        &set_bits(MetaKey::Priority, 0x8000_0000),
    ]
    .concat();
    assert_eq!(passed.rules[0].expressions, expected);
    assert_eq!(passed.rules.len(), 1);
}
