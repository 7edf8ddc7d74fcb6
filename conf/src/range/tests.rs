//! Ranges, each rule by itself; what a range file says of them is in the crate's `tests`.

use super::*;

fn range(json: &str) -> Range {
    serde_json::from_str(json).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// All addresses that a range gives, by following `next_after`.
fn given(range: &Range) -> Vec<String> {
    std::iter::successors(range.next_after(None), |last| range.next_after(Some(*last)))
        .map(|address| address.to_string())
        .collect()
}

#[test]
fn what_is_given() {
    let cases: [(&str, &[&str]); 9] = [
        ("\"10.0.0.0/30\"", &["10.0.0.1", "10.0.0.2"]),
        ("\"fd00::/126\"", &["fd00::1", "fd00::2", "fd00::3"]),
        ("\"fd00::/127\"", &["fd00::1"]),
        (
            r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.10"}"#,
            &["10.0.0.9", "10.0.0.10"],
        ),
        // The VTEP address and the broadcast address stay ours.
        (
            r#"{"subnet": "10.0.0.0/30", "rangeStart": "10.0.0.0", "rangeEnd": "10.0.0.3"}"#,
            &["10.0.0.1", "10.0.0.2"],
        ),
        (
            r#"{"subnet": "10.0.0.0/29", "exclude": ["10.0.0.4/31", "10.0.0.1/32"]}"#,
            &["10.0.0.2", "10.0.0.3", "10.0.0.6"],
        ),
        // Nested and adjoining.
        (
            r#"{"subnet": "10.0.0.0/28",
                "exclude": ["10.0.0.5/32", "10.0.0.4/30", "10.0.0.8/30", "10.0.0.1/32"]}"#,
            &["10.0.0.2", "10.0.0.3", "10.0.0.12", "10.0.0.13", "10.0.0.14"],
        ),
        (
            r#"{"subnet": "10.0.0.0/28", "exclude": ["10.0.0.14/32", "10.0.0.4/30", "10.0.0.8/29", "10.0.0.12/31"]}"#,
            &["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        ),
        (
            r#"{"subnet": "fd00::/64", "rangeStart": "fd00::fffe",
                "rangeEnd": "fd00::1:1", "exclude": ["fd00::1:0/128"]}"#,
            &["fd00::fffe", "fd00::ffff", "fd00::1:1"],
        ),
    ];
    for (json, expected) in cases {
        let range = range(json);
        assert_eq!(given(&range), expected, "{json}");
        let (first, last) = range.bounds().unwrap();
        let bounds = [expected.first(), expected.last()].map(|text| address(text.unwrap()));
        assert_eq!([first, last], bounds, "{json}");
    }
}

#[test]
fn next_after_an_address_not_given() {
    let range = range(r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9"}"#);
    let cases = [
        ("0.0.0.0", Some("10.0.0.9")),
        ("10.0.0.3", Some("10.0.0.9")),
        ("10.0.0.254", None),
        ("10.0.0.255", None),
        ("10.0.1.0", None),
        ("255.255.255.255", None),
        ("::", None),
    ];
    for (after, expected) in cases {
        let next = range.next_after(Some(address(after))).map(|next| next.to_string());
        assert_eq!(next.as_deref(), expected, "{after}");
    }
}

#[test]
fn a_number_picks_an_address() {
    let part = r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.10"}"#;
    let (whole, six) = ("\"10.0.0.0/24\"", "\"fd00::/64\"");
    let cases = [
        (whole, 0, "10.0.0.0"),
        (whole, 255, "10.0.0.255"),
        (whole, 256, "10.0.0.0"),
        (part, 3, "10.0.0.10"),
        (six, 0xffff, "fd00::ffff"),
        (six, 0x1_0001, "fd00::1"),
        ("\"fd00::/112\"", u64::MAX, "fd00::ffff"),
        ("\"255.255.252.0/23\"", 511, "255.255.253.255"),
    ];
    for (json, number, expected) in cases {
        assert_eq!(range(json).pick(number), address(expected), "{json} {number}");
    }
}

#[test]
fn large_excludes_cost_nothing() {
    let range = range(
        r#"{"subnet": "fd00::/64",
            "exclude": ["fd00::/65", "fd00:0:0:0:8000::/66", "fd00:0:0:0:c000::/128"]}"#,
    );
    assert_eq!(range.next_after(None), Some(address("fd00::c000:0:0:1")));
}

#[test]
fn end_of_the_address_space() {
    let range = range("\"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124\"");
    assert_eq!(given(&range).len(), 15);
    assert_eq!(range.next_after(Some(range.end())), None);
}

#[test]
fn membership() {
    let range = range(
        r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "exclude": ["10.0.0.10/32"]}"#,
    );
    let cases = [
        ("10.0.0.0", true, false),
        ("10.0.0.8", true, false),
        ("10.0.0.9", true, true),
        ("10.0.0.10", true, false),
        ("10.0.0.254", true, true),
        ("10.0.0.255", true, false),
        ("10.0.1.9", false, false),
        ("9.255.255.255", false, false),
        ("::a00:9", false, false),
    ];
    for (text, contained, given) in cases {
        assert_eq!(range.contains(address(text)), contained, "{text}");
        assert_eq!(range.gives(address(text)), given, "{text}");
    }
}

#[test]
fn defaults() {
    let range = Range::parse("10.0.0.0/24").unwrap();
    assert_eq!(range.subnet().to_string(), "10.0.0.0/24");
    assert_eq!(range.start(), address("10.0.0.0"));
    assert_eq!(range.end(), address("10.0.0.255"));
    assert_eq!(range.exclude(), []);
    let explicit =
        Range::new(range.subnet(), Some(range.start()), Some(range.end()), Vec::new()).unwrap();
    assert_eq!(explicit, range);
}

#[test]
fn as_compact_as_can_be() {
    let cases = [
        "\"10.0.0.0/24\"",
        "\"fd00::/64\"",
        r#"{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9"}"#,
        r#"{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.9"}"#,
        r#"{"subnet":"10.0.0.0/24","exclude":["10.0.0.9/32","10.0.0.10/31"]}"#,
        r#"{"subnet":"10.0.0.0/24","retiring":true}"#,
    ];
    for json in cases {
        assert_eq!(serde_json::to_string(&range(json)).unwrap(), json);
    }
}

#[test]
fn a_range_that_retires_is_the_same_but_for_that() {
    let retiring = range(r#"{"subnet":"10.0.0.0/24","retiring":true}"#);
    let open = Range::parse("10.0.0.0/24").unwrap();
    assert!(retiring.is_retiring() && !open.is_retiring());
    assert!(retiring.gives(address("10.0.0.7")), "a pod may have it");
    assert_ne!(retiring, open);
    assert_eq!(retiring, open.retire());
}

#[test]
fn built_by_hand_keeps_the_rules() {
    let cases = [
        ("10.0.0.1/24", "range: \"10.0.0.1/24\" has host bits set; write \"10.0.0.0/24\""),
        ("127.0.0.0/24", "range: \"127.0.0.0/24\" overlaps the loopback addresses (127.0.0.0/8)"),
    ];
    for (subnet, message) in cases {
        let error = Range::new(subnet.parse().unwrap(), None, None, Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), 7);
        assert_eq!(Range::parse(subnet).unwrap_err().to_string(), message);
    }
    let subnet = "10.0.0.0/24".parse().unwrap();
    let error = Range::new(subnet, None, None, vec!["10.0.0.9/31".parse().unwrap()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "range: exclude[0]: \"10.0.0.9/31\" has host bits set; write \"10.0.0.8/31\""
    );
    let error = Range::new(subnet, Some(address("fd00::1")), None, Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "range: rangeStart: \"fd00::1\" is not inside 10.0.0.0/24");
}
