use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ExpressionAttribute, Expressions, Hook, HookNumber, InetHookNumber, Lookup,
    Register, RuleAttribute, SetAttribute, SetFlags,
};

use super::super::expression::{
    ACCEPT, DROP, Expression, Header, Member, MetaKey, Operator, Tracked, compare,
    destination_type, jump, lookup, mask, meta, payload, reverse_path, set_meta, tracked,
    verdict as end_with,
};
use super::*;
use crate::kernel::attribute::{encoded, nest, number};
use crate::kernel::foreign_chains::NamePattern;
use crate::kernel::nft::verdict::NF_ACCEPT;

fn element(key: &[u8], more: &[DefaultNla]) -> DefaultNla {
    let key = nest(1, &[DefaultNla::new(1, key.to_vec())]);
    nest(1, &[&[key], more].concat())
}

fn set(flags: SetFlags, elements: &[DefaultNla]) -> Set {
    let set = encoded(&[SetAttribute::Flags(flags)]);
    Set::read(&set, &[encoded(&[nest(3, elements)])])
}

/// An expression without data.
fn named(name: &str) -> Expression {
    Expression::Element(vec![ExpressionAttribute::Name(name.into())])
}

/// The rules that one of an inet table stands for.
fn read(parts: &[Expression], sets: &BTreeMap<String, Set>) -> Vec<Rule> {
    let other = encoded(&[RuleAttribute::Chain("OTHER".into())]);
    let expressions = RuleAttribute::Expressions(parts.to_vec());
    let rule = encoded(&[RuleAttribute::Chain("FORWARD".into()), expressions]);
    let names = BTreeMap::from([(7, "docker0".to_owned())]);
    rules("FORWARD", &[other, rule], ChainFamily::Both, sets, &names)
}

/// The same of one that asks and accepts.
fn asked(parts: &[Expression]) -> Vec<Condition> {
    let parts = [parts, &[end_with(ACCEPT)]].concat();
    let mut read = read(&parts, &BTreeMap::new());
    assert_eq!((read.len(), &read[0].end, read[0].number), (1, &End::Accept, 1));
    read.remove(0).conditions
}

fn is(asks: Asks) -> Condition {
    asks.into()
}

fn not(asks: Asks) -> Condition {
    Condition { not: true, asks }
}

fn source(cidr: &str) -> Asks {
    Asks::source(cidr.parse().unwrap())
}

#[test]
fn reads_what_is_asked_of_addresses_devices_and_states() {
    let equal = |bytes: &[u8]| compare(Operator::Equal, bytes);
    let number = |number: u32| number.to_ne_bytes();
    for (parts, expected) in [
        (vec![], vec![]),
        (
            vec![payload(Header::Network, 12, 2), equal(&[10, 244])],
            vec![is(source("10.244.0.0/16"))],
        ),
        (
            vec![
                payload(Header::Network, 12, 4),
                mask(&[255, 255, 240, 0]),
                equal(&[10, 244, 16, 0]),
            ],
            vec![is(source("10.244.16.0/20"))],
        ),
        (vec![payload(Header::Network, 8, 2), equal(&[0xfd, 0])], vec![is(source("fd00::/16"))]),
        (
            vec![payload(Header::Network, 12, 2), compare(Operator::NotEqual, &[10, 244])],
            vec![not(source("10.244.0.0/16"))],
        ),
        (
            vec![
                payload(Header::Network, 16, 4),
                compare(Operator::GreatherThanEqual, &[10, 0, 0, 9]),
            ],
            vec![is(Asks::Destination([10, 0, 0, 9].into(), [255; 4].into()))],
        ),
        (
            vec![meta(MetaKey::Nfproto), equal(&[2]), payload(Header::Network, 8, 1), equal(&[64])],
            vec![is(Asks::Ipv4(true)), is(Asks::Some("ip header".into()))],
        ),
        (
            vec![meta(MetaKey::Iifname), equal(b"veth")],
            vec![is(Asks::Input(NamePattern::Beginning("veth".into())))],
        ),
        (
            vec![meta(MetaKey::Iifname), compare(Operator::NotEqual, b"flat.7\0")],
            vec![not(Asks::Input(NamePattern::Exactly("flat.7".into())))],
        ),
        (vec![meta(MetaKey::Oifgroup), equal(&number(7))], vec![is(Asks::OutputGroup(7))]),
        (
            vec![
                tracked(Tracked::Status),
                mask(&number(0x20)),
                compare(Operator::NotEqual, &number(0)),
            ],
            vec![is(Asks::Status(0x20))],
        ),
        (
            vec![tracked(Tracked::Status), mask(&number(0x20)), equal(&number(0))],
            vec![not(Asks::Status(0x20))],
        ),
        (vec![destination_type(), equal(&number(2))], vec![is(Asks::always(false))]),
        (
            vec![payload(Header::Transport, 2, 2), equal(&[0, 53])],
            vec![is(Asks::Some("th".into()))],
        ),
    ] {
        assert_eq!(asked(&parts), expected, "{parts:?}");
    }
}

#[test]
fn what_is_not_understood_keeps_its_name() {
    let unknown = |name: &str| is(Asks::Unknown(name.into()));
    for (parts, expected) in [
        (vec![reverse_path(), compare(Operator::Equal, &[1])], vec![unknown("fib")]),
        (
            vec![meta(MetaKey::Iifkind), compare(Operator::Equal, b"veth\0")],
            vec![unknown("meta iifkind")],
        ),
        (
            vec![payload(Header::Network, 12, 4), lookup(Member::In, "gone")],
            vec![unknown("lookup")],
        ),
        (vec![compare(Operator::Equal, &[1])], vec![unknown("cmp")]),
        (vec![named("novel")], vec![unknown("novel")]),
        (
            // What an unknown expression may have loaded is not what was loaded before.
            vec![meta(MetaKey::Iifgroup), named("novel"), compare(Operator::Equal, &[0; 4])],
            vec![unknown("novel")],
        ),
    ] {
        assert_eq!(asked(&parts), expected, "{parts:?}");
    }
    assert_eq!(asked(&set_meta(MetaKey::Priority, &[0; 4])), [], "asks nothing");
}

#[test]
fn sets_ask_to_be_one_of_their_elements() {
    let end = number(3, 1);
    let drops = nest(2, &[nest(2, &[number(1, NF_DROP)])]);
    let sets = BTreeMap::from([
        // As the kernel tells them, the last first; two that touch are one.
        (
            "some".to_owned(),
            set(
                SetFlags::Interval,
                &[
                    element(&[10, 3, 0, 0], std::slice::from_ref(&end)),
                    element(&[10, 2, 0, 0], &[]),
                    element(&[10, 2, 0, 0], std::slice::from_ref(&end)),
                    element(&[10, 1, 0, 0], &[]),
                    element(&[0; 4], std::slice::from_ref(&end)),
                ],
            ),
        ),
        ("high".to_owned(), set(SetFlags::Interval, &[element(&[240, 0, 0, 0], &[])])),
        ("groups".to_owned(), set(SetFlags::Map, &[element(&7_u32.to_ne_bytes(), &[drops])])),
    ]);
    let from = payload(Header::Network, 12, 4);
    let one = |asks: Asks| Asks::OneOf(vec![vec![is(asks)]]);
    let rule = |conditions, end| vec![Rule { number: 1, conditions, end }];
    let accept = end_with(ACCEPT);
    assert_eq!(
        read(&[from.clone(), lookup(Member::NotIn, "some"), accept.clone()], &sets),
        rule(
            vec![not(one(Asks::Source([10, 1, 0, 0].into(), [10, 2, 255, 255].into())))],
            End::Accept
        )
    );
    assert_eq!(
        read(&[from, lookup(Member::In, "high"), accept], &sets),
        rule(vec![is(one(Asks::Source([240, 0, 0, 0].into(), [255; 4].into())))], End::Accept)
    );
    let map = Expressions::Lookup(vec![
        Lookup::SourceRegister(Register::Reg1),
        Lookup::Set("groups".into()),
        Lookup::DestinationRegister(Register::Verdict),
    ]);
    assert_eq!(
        read(&[meta(MetaKey::Iifgroup), map.into()], &sets),
        rule(vec![is(Asks::InputGroup(7))], End::Drop)
    );
}

#[test]
fn ends_and_base_chains_are_read() {
    let sets = BTreeMap::new();
    let ends = |parts: &[Expression]| read(parts, &sets).remove(0).end;
    assert_eq!(ends(&[end_with(DROP)]), End::Drop);
    assert_eq!(ends(&[jump("deny")]), End::Jump("deny".into()));
    assert_eq!(ends(&[named("counter"), named("reject")]), End::Reject);
    assert_eq!(ends(&[named("log")]), End::Continue);
    let chain =
        |name: &str| [ChainAttribute::Table("wall".into()), ChainAttribute::Name(name.into())];
    let base = |name, hook, priority: i32, policy| {
        let hook = Hook::Number(HookNumber::Inet(hook));
        let hook = ChainAttribute::Hook(vec![hook, Hook::Priority(priority as u32)]);
        encoded(&[&chain(name)[..], &[hook, ChainAttribute::Policy(policy)]].concat())
    };
    let chains = [
        encoded(&chain("deny")),
        base("late", InetHookNumber::Forward, 10, NF_ACCEPT),
        base("input", InetHookNumber::LocalIn, 0, NF_DROP),
        base("early", InetHookNumber::Forward, -10, NF_DROP),
    ];
    let found: Vec<_> = bases(&chains).into_iter().map(|base| (base.name, base.drops)).collect();
    assert_eq!(found, [("early".to_owned(), true), ("late".to_owned(), false)]);
}
