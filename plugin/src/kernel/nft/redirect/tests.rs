use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{Expressions, RuleAttribute};

use super::super::expression::{
    Expression, Header, Member, Operator, compare, jump, lookup, mask, payload,
};
use super::*;
use crate::kernel::attribute::{encoded, nest, number, text};

fn rule(chain: &str, parts: &[Expression]) -> Vec<u8> {
    let expressions = RuleAttribute::Expressions(parts.to_vec());
    encoded(&[RuleAttribute::Chain(chain.into()), expressions])
}

fn expression(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expressions::Other { expression_type: name.into(), attributes }.into()
}

fn destination() -> Expression {
    payload(Header::Network, 16, 4)
}

/// `dnat to ADDRESS:PORT`
fn dnat(address: [u8; 4], port: u16) -> [Expression; 3] {
    let immediate = |register, value: &[u8]| {
        let value = nest(2, &[DefaultNla::new(1, value.to_vec())]);
        expression("immediate", vec![number(1, register), value])
    };
    let numbers = [(1, 1), (2, 2), (3, 1), (5, 2)];
    let nat = numbers.map(|(kind, value)| number(kind, value)).to_vec();
    [immediate(1, &address), immediate(2, &port.to_be_bytes()), expression("nat", nat)]
}

/// `vmap @SET`
fn verdict_map(set: &str) -> Expression {
    let data = [text(1, set), number(2, 1), number(3, VERDICT)];
    expression("lookup", data.to_vec())
}

/// `KEY : goto CHAIN`, or a key alone.
fn element(key: &[u8], chain: Option<&str>, end: bool) -> DefaultNla {
    let mut parts = vec![nest(1, &[DefaultNla::new(1, key.to_vec())])];
    if let Some(chain) = chain {
        let verdict = nest(2, &[text(2, chain)]);
        parts.push(nest(2, &[verdict]));
    }
    if end {
        parts.push(number(3, 1));
    }
    nest(1, &parts)
}

type Sets<'a> = &'a [(&'a str, Vec<DefaultNla>)];

/// Whether the rules of chain `base` and what it leads to name the destination, and where that leads.
fn led(to: &str, rules: &[Vec<u8>], sets: Sets<'_>) -> Option<Vec<String>> {
    let mut elements = |name: &str| {
        let found = sets.iter().filter(|(set, _)| *set == name);
        Ok(found.map(|(_, all)| encoded(&[nest(3, all)])).collect())
    };
    let mut search = Search::new(to.parse().unwrap(), rules, &mut elements);
    search.follow("base", false, JUMPS).unwrap();
    let places = search.found.iter().map(|(to, port)| format!("{to} {port:?}")).collect();
    search.named.then_some(places)
}

#[test]
fn a_services_endpoints_are_found_as_kube_proxy_makes_its_rules() {
    let key = [10, 96, 0, 10, 6, 0, 0, 0, 0, 80, 0, 0];
    let empty = [10, 96, 0, 11, 6, 0, 0, 0, 0, 80, 0, 0];
    let sets = [
        (
            "service-ips",
            vec![element(&key, Some("service"), false), element(&empty, Some("none"), false)],
        ),
        (
            "__map0",
            vec![element(&[0; 4], Some("one"), false), element(&[1, 0, 0, 0], Some("two"), false)],
        ),
    ];
    let rules = [
        rule("base", &[jump("services")]),
        rule("services", &[destination(), verdict_map("service-ips")]),
        rule("service", &[expression("numgen", vec![number(1, 1)]), verdict_map("__map0")]),
        rule("one", &dnat([10, 244, 1, 7], 8080)),
        rule("two", &dnat([10, 244, 2, 7], 8080)),
        // A loop, which the kernel would refuse.
        rule("two", &[jump("services")]),
    ];
    let both = ["10.244.1.7 Some(8080)", "10.244.2.7 Some(8080)"].map(str::to_owned).to_vec();
    assert_eq!(led("10.96.0.10", &rules, &sets), Some(both));
    assert_eq!(led("10.96.0.11", &rules, &sets), Some(Vec::new()));
    assert_eq!(led("10.96.0.12", &rules, &sets), None);
    assert_eq!(led("fd00::1", &rules, &sets), None);
}

#[test]
fn addresses_networks_and_sets_are_compared() {
    let nat = dnat([10, 244, 1, 7], 80);
    let found = Some(vec!["10.244.1.7 Some(80)".to_owned()]);
    let interval =
        vec![element(&[10, 96, 0, 0], None, false), element(&[10, 97, 0, 0], None, true)];
    let sets = [
        ("some", vec![element(&[10, 96, 0, 10], None, false)]),
        ("within", interval.clone()),
        ("other", vec![element(&[10, 96, 0, 11], None, false)]),
    ];
    let is = |bytes: &[u8]| compare(Operator::Equal, bytes);
    for (parts, expected) in [
        (vec![destination(), is(&[10, 96, 0, 10])], &found),
        (vec![destination(), is(&[10, 96, 0, 11])], &None),
        (vec![destination(), mask(&[255, 255, 240, 0]), is(&[10, 96, 0, 0])], &found),
        (vec![payload(Header::Network, 16, 2), is(&[10, 96])], &found),
        (vec![payload(Header::Network, 16, 2), is(&[10, 97])], &None),
        (vec![destination(), lookup(Member::In, "some")], &found),
        (vec![destination(), lookup(Member::In, "within")], &found),
        (vec![destination(), lookup(Member::In, "other")], &None),
        // The source, and a published port of this node, are about no destination.
        (vec![payload(Header::Network, 12, 4), is(&[10, 96, 0, 10])], &None),
        (vec![payload(Header::Transport, 2, 2), is(&[0, 80])], &None),
        (vec![destination(), compare(Operator::NotEqual, &[10, 96, 0, 11])], &None),
    ] {
        let rules = [rule("base", &[&parts[..], &nat].concat())];
        assert_eq!(&led("10.96.0.10", &rules, &sets), expected, "{parts:?}");
    }
    assert!(!contains(&read_all(&interval), &[10, 97, 0, 0]));
    assert!(contains(&read_all(&interval), &[10, 96, 255, 255]));
}

fn read_all(elements: &[DefaultNla]) -> Vec<Element> {
    let bytes = encoded(elements);
    decode(&bytes).filter_map(|(_, element)| read(element)).collect()
}

#[test]
fn targets_of_iptables_lead_as_well() {
    let target = |revision: u32, info: &[u8]| {
        let name = text(1, "DNAT");
        let info = DefaultNla::new(3, info.to_vec());
        expression("target", vec![name, number(2, revision), info])
    };
    let port = 8080_u16.to_be_bytes();
    // struct nf_nat_range2: flags, addresses from and to, ports from and to.
    let mut range = vec![3, 0, 0, 0, 10, 244, 1, 7];
    range.resize(36, 0);
    range.extend(port);
    range.resize(44, 0);
    // struct nf_nat_ipv4_multi_range_compat: how many, flags, addresses, ports.
    let compat =
        [&[1, 0, 0, 0, 3, 0, 0, 0, 10, 244, 1, 7, 10, 244, 1, 7][..], &port, &port].concat();
    for target in [target(2, &range), target(0, &compat)] {
        let rules =
            [rule("base", &[destination(), compare(Operator::Equal, &[10, 96, 0, 10]), target])];
        let found = Some(vec!["10.244.1.7 Some(8080)".to_owned()]);
        assert_eq!(led("10.96.0.10", &rules, &[]), found);
    }
}
