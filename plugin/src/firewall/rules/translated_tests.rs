use super::tests::{DUAL, V4, all_chains, chain, hook, policy, to_a_vtep, to_port};
use super::*;
use crate::kernel::nft::expression::{
    Direction, Header, Member, MetaKey, Operator, Tracked, compare, lookup, mask, meta, payload,
    source_type, tracked,
};

#[test]
fn what_nat_leads_astray_reads_as_documented() {
    let want = policy(V4, DUAL);
    let (landing, departing) = (chain(&want, "landing-7"), chain(&want, "departing-7"));
    assert_eq!(hook(&landing), Some((InetHookNumber::LocalIn, 100)));
    assert_eq!(hook(&departing), Some((InetHookNumber::PostRouting, 99)), "before source NAT");
    let drop = [verdict(DROP)];
    let by_nat = [
        tracked(Tracked::Status),
        mask(&32_u32.to_ne_bytes()),
        compare(Operator::NotEqual, &[0; 4]),
    ];
    let by_ipvs = [
        tracked(Tracked::DestinationPort(Direction::Original)),
        compare(Operator::NotEqual, &[0x12, 0xb5]),
    ];
    for (n, how) in [&by_nat[..], &by_ipvs].into_iter().enumerate() {
        assert_eq!(landing.rules[n].expressions, [&to_port()[..], how, &drop].concat());
        let departing = &departing.rules[3 + n].expressions;
        assert_eq!(*departing, [&to_port()[..], &to_a_vtep(), how, &drop].concat());
    }
}

#[test]
fn what_is_sent_on_reads_as_documented() {
    let by_another =
        [meta(MetaKey::Iifkind), compare(Operator::NotEqual, b"vxlan\0\0\0\0\0\0\0\0\0\0\0")];
    let of_another = [
        meta(MetaKey::Iifgroup),
        compare(Operator::GreatherThanEqual, &[0; 4]),
        source_type(),
        compare(Operator::NotEqual, &2_u32.to_ne_bytes()),
    ];
    let drop = [verdict(DROP)];
    for masquerade in [Masquerade::On, Masquerade::Off] {
        let want = Policy { masquerade, ..policy(V4, DUAL) };
        let departing = chain(&want, "departing-7");
        assert_eq!(hook(&departing), Some((InetHookNumber::PostRouting, 99)), "before source NAT");
        for (rule, how) in departing.rules[1..].iter().zip([&by_another[..], &of_another]) {
            assert_eq!(rule.expressions, [&to_port()[..], &to_a_vtep(), how, &drop].concat());
        }
        let from_port = [
            payload(Header::Transport, 0, 2),
            compare(Operator::Equal, &[0x12, 0xb5]),
            meta(MetaKey::L4Proto),
            compare(Operator::Equal, &[17]),
        ];
        let by_a_vtep = [
            meta(MetaKey::Nfproto),
            compare(Operator::Equal, &[2]),
            payload(Header::Network, 12, 4),
            lookup(Member::In, "vteps-7"),
        ];
        let asked = [&from_port[..], &by_a_vtep, &drop].concat();
        assert_eq!(departing.rules[0].expressions, asked);
    }
    let want = Policy { masquerade: Masquerade::Off, ..policy(V4, DUAL) };
    let asks_conntrack = |rule: &Rule| rule.expressions.contains(&tracked(Tracked::Status));
    for chain in all_chains(&want) {
        assert!(!chain.rules.iter().any(asks_conntrack), "{} would switch it on", chain.name);
    }
}
