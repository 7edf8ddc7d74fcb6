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

#[test]
fn what_pods_send_to_nodes_has_no_source_port_of_overlays() {
    for (vteps, first, protocols) in [(V4, 0, 0), (V6, 2, 4)] {
        let nat = chain(&policy(vteps, DUAL), "postrouting-7");
        let rules: Vec<&[Expression]> =
            nat.rules[first..].iter().map(|rule| &rule.expressions[..]).collect();
        let at = usize::from(protocols > 0);
        // Behind what goes for all that leaves.
        let (leaves, _) = rules[at + 1].split_at(rules[at + 1].len() - 1);
        let (both, to_port) = rules[at].split_at(leaves.len());
        assert_eq!(both, leaves);
        let to = lookup(Member::In, "vteps-7");
        assert_eq!(to_port[1..], [&[to][..], &masquerade_to((1024, 33023))].concat());
        if protocols > 0 {
            let others = &rules[0][leaves.len() + 2..];
            let asked = others.iter().filter(|it| **it == meta(MetaKey::L4Proto)).count();
            assert_eq!((asked, others.last()), (protocols, Some(&verdict(DROP))));
        }
    }
}
