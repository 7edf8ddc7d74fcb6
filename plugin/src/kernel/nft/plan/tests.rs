use super::super::expression::{DROP, Operator, compare, reverse_path, verdict};
use super::super::intervals;
use super::super::names::Names;
use super::super::objects::{
    Base, CHAIN_HOOK, ChainType, Element, Family, InetHookNumber, Rule, TABLE,
};
use super::super::observed;
use super::*;
use crate::kernel::attribute::{nest, text};
use netlink_packet_core::Emitable;
use netlink_packet_netfilter::nftables::{ChainAttribute, NfTablesMessage};
use std::collections::BTreeSet;

/// What a network of so many nodes wants: a set of each kind, all chains, each with two rules.
pub(super) fn want(vteps: u8, cidr: &str) -> RuleSet {
    let names = Names::of(7);
    let vteps: Vec<_> = (1..=vteps).map(|last| [192, 168, 50, last].into()).collect();
    let based = [
        (&names.prerouting, InetHookNumber::PreRouting),
        (&names.landing, InetHookNumber::LocalIn),
        (&names.output, InetHookNumber::LocalOut),
        (&names.local, InetHookNumber::LocalOut),
        (&names.departing, InetHookNumber::PostRouting),
        (&names.postrouting, InetHookNumber::PostRouting),
    ]
    .map(|(name, hook)| chain(name, Some(hook)));
    let led_to = [&names.vxlan, &names.pod, &names.path_mtu, &names.overlay, &names.source]
        .map(|name| chain(name, None));
    RuleSet {
        vni: 7,
        sets: vec![
            set(&names.vteps, intervals::addresses(&vteps), false),
            set(&names.cluster4, intervals::networks(&[cidr.parse().unwrap()], Family::V4), true),
        ],
        chains: led_to.into_iter().chain(based).collect(),
        apart: chain(&names.forward, Some(InetHookNumber::Forward)),
    }
}

fn set(name: &str, elements: BTreeSet<Element>, interval: bool) -> Set {
    Set { name: name.to_owned(), family: Family::V4, interval, elements }
}

fn chain(name: &str, hook: Option<InetHookNumber>) -> Chain {
    let base = hook.map(|hook| Base { kind: ChainType::Filter, hook, priority: -300 });
    let dropped = [vec![reverse_path(), compare(Operator::Equal, &[0; 4])], Vec::new()];
    let rule = |(comment, mut expressions): (&str, Vec<_>)| {
        expressions.push(verdict(DROP));
        Rule { comment: format!("pods: {comment}"), expressions }
    };
    let rules = ["spoofed source", "all"].into_iter().zip(dropped).map(rule).collect();
    Chain { name: name.to_owned(), base, rules }
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = vec![0; message.content.buffer_len()];
    message.content.emit(&mut bytes);
    bytes
}

/// What the kernel would dump after `want` was put into an empty table.
fn standing(want: &RuleSet) -> ObservedObjects {
    let (mut chains, mut rules, mut sets) = (Vec::new(), Vec::new(), Vec::new());
    for message in replace(&ObservedObjects::default(), want) {
        match message.content {
            NfTablesMessage::NewChain(_) => chains.push(bytes(&message)),
            NfTablesMessage::NewRule(_) => rules.push(bytes(&message)),
            NfTablesMessage::NewSet(_) => sets.push(bytes(&message)),
            _ => {}
        }
    }
    let names = Names::of(want.vni);
    let mut sets = observed::sets(&names, &sets);
    for (have, set) in sets.iter_mut().zip(&want.sets) {
        let add = change_elements(Change::Add, &set.name, set.elements.iter().copied());
        let dump: Vec<Vec<u8>> = add.iter().map(bytes).collect();
        have.elements = observed::elements(&dump);
    }
    let chains = observed::chains(&names, chains, rules);
    let uses = (sets.len() + chains.len()) as u32;
    ObservedObjects { table: Some(Table { flags: 0, uses }), sets, chains, in_company: false }
}

fn actions(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.action.as_str()).collect()
}

fn to_do(observed: &ObservedObjects, want: &RuleSet) -> Vec<String> {
    let messages = replace(observed, want);
    actions(&messages).into_iter().map(str::to_owned).collect()
}

const CLUSTER: &str = "10.244.0.0/16";

#[test]
fn does_nothing_twice() {
    assert_eq!(to_do(&standing(&want(2, CLUSTER)), &want(2, CLUSTER)), [""; 0]);
}

#[test]
fn nodes_that_join_and_leave_are_elements() {
    let (two, three) = (want(2, CLUSTER), want(3, CLUSTER));
    assert_eq!(to_do(&standing(&two), &three), ["add elements of set vteps-7"]);
    assert_eq!(to_do(&standing(&three), &two), ["delete elements of set vteps-7"]);
    let message = &replace(&standing(&two), &three)[0];
    let third =
        change_elements(Change::Add, "vteps-7", three.sets[0].elements.iter().copied().skip(2));
    assert_eq!(std::slice::from_ref(message), third);
}

#[test]
fn a_set_that_is_full_is_made_anew_and_larger() {
    let few = standing(&want(2, CLUSTER));
    assert_eq!(few.sets[0].size, Some(64));
    assert_eq!(to_do(&few, &want(64, CLUSTER)), ["add elements of set vteps-7"]);
    let actions = to_do(&few, &want(65, CLUSTER));
    assert!(actions.contains(&"delete set vteps-7".into()), "{actions:?}");
    assert_eq!(standing(&want(65, CLUSTER)).sets[0].size, Some(256));
    let mut plain = few;
    plain.sets[0].size = None;
    assert!(to_do(&plain, &want(2, CLUSTER)).contains(&"add set vteps-7".into()));
}

#[test]
fn many_nodes_take_several_messages() {
    let many: Vec<_> =
        (0..10_000_u32).map(|i| std::net::Ipv4Addr::from(0x0a00_0000 + i).into()).collect();
    let messages = set("vteps-7", intervals::addresses(&many), false).add(1);
    assert_eq!(messages.len(), 11);
    assert!(messages.iter().all(|message| bytes(message).len() < 1 << 16));
}

#[test]
fn other_intervals_rebuild_everything() {
    let actions = to_do(&standing(&want(2, CLUSTER)), &want(2, "10.0.0.0/8"));
    assert_eq!(
        actions[..13],
        [
            "delete chain prerouting-7",
            "delete chain landing-7",
            "delete chain output-7",
            "delete chain local-7",
            "delete chain departing-7",
            "delete chain postrouting-7",
            "delete chain vxlan-7",
            "delete chain pod-7",
            "delete chain path-mtu-7",
            "delete chain overlay-7",
            "delete chain source-7",
            "delete set vteps-7",
            "delete set cluster4-7",
        ]
    );
    assert_eq!(actions[13..], to_do(&ObservedObjects::default(), &want(2, "10.0.0.0/8"))[1..]);
}

#[test]
fn drift_is_repaired_where_it_is() {
    let want = want(2, CLUSTER);
    type Drift = fn(&mut ObservedObjects);
    let cases: [(&str, Drift, &[&str]); 6] = [
        ("a rule was deleted", |o| drop(o.chains[6].rules.remove(0)), &["flush chain vxlan-7"]),
        (
            "another program's rule",
            |o| {
                let rule = o.chains[6].rules[0].clone();
                o.chains[2].rules.push(rule);
            },
            &["flush chain output-7"],
        ),
        ("rules in another order", |o| o.chains[0].rules.swap(0, 1), &["flush chain prerouting-7"]),
        ("a chain was deleted", |o| drop(o.chains.remove(2)), &["add chain output-7"]),
        ("the table sleeps", |o| o.table.as_mut().unwrap().flags = 1, &["add the table"]),
        (
            "an element was deleted",
            |o| {
                o.sets[0].elements.pop_first();
            },
            &["add elements of set vteps-7"],
        ),
    ];
    for (why, drift, expected) in cases {
        let mut observed = standing(&want);
        drift(&mut observed);
        let mut actions = to_do(&observed, &want);
        actions.retain(|action| !action.starts_with("add rule"));
        assert_eq!(actions, expected, "{why}");
    }
}

#[test]
fn a_policy_of_drop_is_drift() {
    let want = want(2, CLUSTER);
    let mut observed = standing(&want);
    let mut attributes = want.chains[5].attributes();
    for attribute in &mut attributes {
        if let ChainAttribute::Policy(policy) = attribute {
            *policy = 0;
        }
    }
    observed.chains[0].attributes = encoded(&attributes);
    let actions = to_do(&observed, &want);
    assert_eq!(actions[..2], ["delete chain prerouting-7", "add chain prerouting-7"]);
}

#[test]
fn a_base_chain_in_the_place_of_another_is_drift() {
    let want = want(2, CLUSTER);
    let mut observed = standing(&want);
    observed.chains[6].attributes.extend_from_slice(&encoded(&[nest(CHAIN_HOOK, &[])]));
    let actions = to_do(&observed, &want);
    assert_eq!(actions[..2], ["delete chain vxlan-7", "add chain vxlan-7"]);
}

#[test]
fn of_two_networks_one_keeps_apart() {
    let first = want(2, CLUSTER);
    let mut observed = standing(&first);
    observed.in_company = true;
    let actions = to_do(&observed, &first);
    assert_eq!(
        actions,
        [
            "add chain forward-7",
            "add rule \"pods: spoofed source\" to chain forward-7",
            "add rule \"pods: all\" to chain forward-7",
        ]
    );

    let set = |name: &str| encoded(&[text(1, TABLE), text(2, name)]);
    let chain = |table: &str, name: &str| encoded(&[text(1, table), text(3, name)]);
    let names = Names::of(7);
    for (sets, chains, expected, why) in [
        (vec![set("vteps-7")], vec![], false, "only itself"),
        (vec![set("vteps-7"), set("mine-8")], vec![], false, "another program's set"),
        (vec![set("vteps-7"), set("vteps-8")], vec![], true, "another without the chain"),
        (vec![set("vteps-8")], vec![chain(TABLE, "forward-8")], false, "another with it"),
        (vec![set("vteps-8")], vec![chain("mine", "forward-8")], true, "another program's chain"),
        (vec![set("vteps-8")], vec![chain(TABLE, "forward-7")], true, "its own chain"),
        (
            vec![set("vteps-8"), set("vteps-9")],
            vec![chain(TABLE, "forward-9")],
            true,
            "one of two without it",
        ),
    ] {
        assert_eq!(observed::in_company(&names, &sets, &chains), expected, "{why}");
    }
}

#[test]
fn other_networks_and_tables_are_not_seen() {
    let names = Names::of(7);
    let chain = |table, name| encoded(&[text(1, table), text(3, name)]);
    let all = [
        ("flatnet", "input-7"),
        ("flatnet", "input-77"),
        ("flatnet", "mine-7"),
        ("filter", "output-7"),
    ];
    let seen = observed::chains(&names, all.map(|(t, n)| chain(t, n)).to_vec(), Vec::new());
    let seen: Vec<&str> = seen.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(seen, ["input-7"]);
}

#[test]
fn the_table_goes_with_its_last_network() {
    let mut observed = standing(&want(2, CLUSTER));
    assert_eq!(actions(&remove(&observed)), ["delete the table"]);
    observed.table.as_mut().unwrap().uses += 1;
    assert_eq!(
        actions(&remove(&observed)),
        [
            "delete chain prerouting-7",
            "delete chain landing-7",
            "delete chain output-7",
            "delete chain local-7",
            "delete chain departing-7",
            "delete chain postrouting-7",
            "delete chain vxlan-7",
            "delete chain pod-7",
            "delete chain path-mtu-7",
            "delete chain overlay-7",
            "delete chain source-7",
            "delete set vteps-7",
            "delete set cluster4-7",
        ]
    );
    assert_eq!(actions(&remove(&ObservedObjects::default())), [""; 0]);
}

/// Dumped by kernel 6.18 for a rule like the first of `pod-7`: other order of attributes than we
/// send, no nesting flags, a handle and a position.
#[test]
fn a_rule_as_the_kernel_dumps_it_is_ours() {
    let dump = b"\x0c\0\x01\0flatnet\0\x0a\0\x02\0pod-7\0\0\0\
        \x0c\0\x03\0\0\0\0\0\0\0\0\x06\x0c\0\x06\0\0\0\0\0\0\0\0\x05\x88\0\x04\0\
        \x28\0\x01\0\x08\0\x01\0fib\0\x1c\0\x02\0\x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\x01\
        \x08\0\x03\0\0\0\0\x29\
        \x2c\0\x01\0\x08\0\x01\0cmp\0\x20\0\x02\0\x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\0\
        \x0c\0\x03\0\x08\0\x01\0\0\0\0\0\
        \x30\0\x01\0\x0e\0\x01\0immediate\0\0\0\x1c\0\x02\0\x08\0\x01\0\0\0\0\0\
        \x10\0\x02\0\x0c\0\x02\0\x08\0\x01\0\0\0\0\0\
        \x1b\0\x07\0\0\x15pods: spoofed source\0\0";
    let rules = want(2, CLUSTER).chains.remove(1).rules;
    assert!(includes(dump, &encoded(&rules[0].attributes())));
    assert!(!includes(dump, &encoded(&rules[1].attributes())));
    let mut accepts = dump.to_vec();
    accepts[dump.len() - 29] = 1; // the verdict's code
    assert!(!includes(&accepts, &encoded(&rules[0].attributes())));
}
