//! host-local's rules, case by case.

use serde_json::{Value, json};

use super::*;

fn set(value: Value) -> Result<RangeSet, String> {
    let raw: Vec<raw::IpamRange> = serde_json::from_value(value).unwrap();
    RangeSet::from_raw(&raw).map_err(|broken| broken.to_string())
}

/// All that a set's only range gives, and its gateway.
fn given(value: Value) -> (Vec<String>, String) {
    let set = set(json!([value])).unwrap();
    let range = &set.ranges()[0];
    let next = |address: &IpAddr| range.next_after(Some(*address));
    let all = std::iter::successors(range.next_after(None), next);
    (all.map(|address| address.to_string()).collect(), range.gateway().to_string())
}

#[test]
fn what_a_range_gives() {
    #[rustfmt::skip]
    let cases: [(Value, &[&str], &str); 9] = [
        (json!({"subnet": "10.1.2.0/30"}), &["10.1.2.2"], "10.1.2.1"),
        (json!({"subnet": "10.1.2.0/29"}), &["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"], "10.1.2.1"),
        // Without a broadcast address, IPv6 gives its last one too.
        (json!({"subnet": "fd00::/126"}), &["fd00::2", "fd00::3"], "fd00::1"),
        (json!({"subnet": "10.1.2.0/30", "gateway": "10.1.2.2"}), &["10.1.2.1"], "10.1.2.2"),
        // A gateway elsewhere takes no address.
        (json!({"subnet": "10.1.2.0/30", "gateway": "192.0.2.1"}), &["10.1.2.1", "10.1.2.2"], "192.0.2.1"),
        (json!({"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.11"}), &["10.1.2.9", "10.1.2.10", "10.1.2.11"], "10.1.2.1"),
        (json!({"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.9", "gateway": "10.1.2.9"}), &[], "10.1.2.9"),
        // What is written out is given, be it the first or the last of all.
        (json!({"subnet": "10.1.2.0/30", "rangeStart": "10.1.2.0", "rangeEnd": "10.1.2.3"}), &["10.1.2.0", "10.1.2.2", "10.1.2.3"], "10.1.2.1"),
        // Programs written in Go write what is unset as an empty text; no address is special.
        (json!({"subnet": "169.254.1.0/30", "rangeStart": "", "rangeEnd": "", "gateway": ""}), &["169.254.1.2"], "169.254.1.1"),
    ];
    for (range, addresses, gateway) in cases {
        let expected = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(given(range.clone()), (expected, gateway.to_owned()), "{range}");
    }
}

#[test]
fn broken_rules() {
    let two = |a, b| json!([{"subnet": a}, {"subnet": b}]);
    let part =
        |start, end| json!([{"subnet": "10.1.2.0/24", "rangeStart": start, "rangeEnd": end}]);
    #[rustfmt::skip]
    let cases = [
        (json!([]), "has no range; give it one with a subnet"),
        (json!([{}]), "[0].subnet: is missing; give the subnet in CIDR notation"),
        (json!([{"subnet": "10.1.2.0"}]), r#"[0].subnet: "10.1.2.0" is not a CIDR, as in "10.244.1.0/24""#),
        (json!([{"subnet": "10.1.2.0/31"}]), r#"[0].subnet: "10.1.2.0/31" is too small; use a /30 or larger"#),
        (json!([{"subnet": "10.1.2.0/32"}]), r#"[0].subnet: "10.1.2.0/32" is too small; use a /30 or larger"#),
        (json!([{"subnet": "fd00::/127"}]), r#"[0].subnet: "fd00::/127" is too small; use a /126 or larger"#),
        (json!([{"subnet": "10.1.2.3/24"}]), r#"[0].subnet: "10.1.2.3/24" has host bits set; write "10.1.2.0/24""#),
        (json!([{"subnet": "10.1.2.0/24", "gateway": "x"}]), r#"[0].gateway: "x" is not an IPv4 or IPv6 address"#),
        (part("10.1.3.1", "10.1.2.9"), r#"[0].rangeStart: "10.1.3.1" is not inside 10.1.2.0/24"#),
        (part("10.1.2.1", "10.1.3.9"), r#"[0].rangeEnd: "10.1.3.9" is not inside 10.1.2.0/24"#),
        (part("10.1.2.9", "10.1.2.8"), r#"[0].rangeStart: "10.1.2.9" is above rangeEnd, "10.1.2.8""#),
        (two("10.1.2.0/24", "fd00::/64"), "[1]: fd00::1-fd00::ffff:ffff:ffff:ffff is of another family than the range before it; make it a set of its own"),
        (two("10.1.2.0/24", "10.1.2.128/25"), "[1]: 10.1.2.129-10.1.2.254 overlaps another range of its set"),
        (two("10.1.2.128/25", "10.1.2.0/24"), "[1]: 10.1.2.1-10.1.2.254 overlaps another range of its set"),
    ];
    for (value, problem) in cases {
        assert_eq!(set(value.clone()), Err(problem.to_owned()), "{value}");
    }
}

#[test]
fn parts_of_one_subnet_are_apart() {
    let set = set(json!([
        {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.10", "rangeEnd": "10.1.2.19"},
        {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.20", "rangeEnd": "10.1.2.29"},
    ]))
    .unwrap();
    assert_eq!(set.to_string(), "10.1.2.10-10.1.2.19, 10.1.2.20-10.1.2.29");
    let covering = |text: &str| set.covering(text.parse().unwrap()).map(ToString::to_string);
    assert_eq!(covering("10.1.2.19").as_deref(), Some("10.1.2.10-10.1.2.19"));
    assert_eq!(covering("10.1.2.20").as_deref(), Some("10.1.2.20-10.1.2.29"));
    for outside in ["10.1.2.9", "10.1.2.30", "::a01:214"] {
        assert_eq!(covering(outside), None, "{outside}");
    }
    assert!(set.is_ipv4());
}

#[test]
fn another_family_has_no_next() {
    let set = set(json!([{"subnet": "10.1.2.0/24"}])).unwrap();
    assert_eq!(set.ranges()[0].next_after(Some("fd00::1".parse().unwrap())), None);
}
