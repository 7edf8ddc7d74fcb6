use super::tests::{DUAL, V4, V6, chain, policy};
use super::*;
use crate::kernel::nft::expression::{
    DROP, Expression, Header, Member, MetaKey, Operator, compare, lookup, masquerade,
    masquerade_to, meta, payload, verdict,
};

#[test]
fn masquerading_spares_pods_multicast_and_where_asked_nodes() {
    let want = Policy { masquerade: Masquerade::SparesNodes, ..policy(V6, DUAL) };
    let nat = chain(&want, "postrouting-7");
    let by_overlay = |is| [meta(MetaKey::Oifgroup), compare(is, &0x6700_0007_u32.to_ne_bytes())];
    let source = |member| {
        [
            meta(MetaKey::Nfproto),
            compare(Operator::Equal, &[10]),
            payload(Header::Network, 8, 16),
            lookup(member, "cluster6-7"),
        ]
    };
    let no_vtep = [payload(Header::Network, 24, 16), lookup(Member::NotIn, "vteps-7")];
    let leaves = [
        payload(Header::Network, 24, 16),
        lookup(Member::NotIn, "cluster6-7"),
        no_vtep[0].clone(),
        no_vtep[1].clone(),
        payload(Header::Network, 24, 1),
        compare(Operator::NotEqual, &[0xff]),
        masquerade(),
    ];
    assert_eq!(
        nat.rules[2].expressions,
        [&by_overlay(Operator::NotEqual)[..], &source(Member::In), &leaves].concat()
    );
    assert_eq!(
        nat.rules[3].expressions,
        [&by_overlay(Operator::Equal)[..], &source(Member::NotIn), &[masquerade()]].concat()
    );
    let spared = |want: &Policy, rule: usize| {
        chain(want, "postrouting-7").rules[rule].expressions.contains(&no_vtep[1])
    };
    assert!(!spared(&want, 0), "an IPv4 packet goes to no IPv6 VTEP");
    assert!(!spared(&policy(V6, DUAL), 2), "nodes are not spared by default");
}

/// The rules of that comment.
fn rules(want: &Policy, chain_: &str, why: &str) -> Vec<Vec<Expression>> {
    let comment = format!("pods: {why}");
    let rules = chain(want, chain_).rules.into_iter();
    rules.filter(|rule| rule.comment == comment).map(|rule| rule.expressions).collect()
}

#[test]
fn what_pods_send_to_nodes_has_no_source_port_of_overlays() {
    let [tcp, udp, icmp6, sctp] = [6, 17, 58, 132];
    for (vteps, destination, protocols, others) in
        [(V4, 16, &[udp][..], &[][..]), (V6, 24, &[udp, tcp, sctp], &[udp, tcp, sctp, icmp6])]
    {
        let want = policy(vteps, DUAL);
        let general = rules(&want, "postrouting-7", "leaves the pod network");
        let general = &general[usize::from(vteps == V6)];
        // From a pod to no pod, as of all that leaves.
        let leaves = &general[..8];
        assert_eq!(
            leaves[7],
            lookup(Member::NotIn, ["cluster4-7", "cluster6-7"][usize::from(vteps == V6)])
        );
        let length = if vteps == V6 { 16 } else { 4 };
        let to = [payload(Header::Network, destination, length), lookup(Member::In, "vteps-7")];
        let protocol = |is, number: u8| [meta(MetaKey::L4Proto), compare(is, &[number])];
        let unprivileged =
            [payload(Header::Transport, 0, 2), compare(Operator::GreatherThanEqual, &[4, 0])];
        let expected: Vec<Vec<Expression>> = protocols
            .iter()
            .map(|number| {
                let by = protocol(Operator::Equal, *number);
                [leaves, &to, &by, &unprivileged, &masquerade_to((4790, 49151))].concat()
            })
            .collect();
        assert_eq!(rules(&want, "departing-7", "leaves for a node"), expected);
        let dropped = rules(&want, "departing-7", "without ports for a node");
        let expected: Vec<Vec<Expression>> = (!others.is_empty())
            .then(|| {
                let others = others.iter().flat_map(|it| protocol(Operator::NotEqual, *it));
                [leaves, &to, &others.collect::<Vec<_>>(), &[verdict(DROP)]].concat()
            })
            .into_iter()
            .collect();
        assert_eq!(dropped, expected);
        let spared = Policy { masquerade: Masquerade::SparesNodes, ..want };
        assert_eq!(rules(&spared, "departing-7", "leaves for a node"), [[]; 0]);
    }
}

#[test]
fn they_have_not_the_overlays_own_port_either() {
    for (port, ports) in [
        (4789, (4790, 49151)),
        (1024, (1025, 49151)),
        (49151, (1024, 49150)),
        (40_000, (1024, 39_999)),
        (53, (1024, 49151)),
        (50_000, (1024, 49151)),
    ] {
        let leaves =
            rules(&Policy { port, ..policy(V4, DUAL) }, "departing-7", "leaves for a node");
        assert!(leaves[0].ends_with(&masquerade_to(ports)), "{port}");
    }
}
