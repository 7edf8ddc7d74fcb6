//! Which addresses come out, case by case and for any ranges at all.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fixture::{addresses, parse};

fn cursor(v4: &str, v6: &str) -> Cursor {
    Cursor { v4: v4.parse().ok(), v6: v6.parse().ok() }
}

/// Chooses, with the outcome as text: the addresses, or why there are none.
fn outcome(ranges: &[&str], taken: &[&str], last: Cursor, wish: Wish<'_>) -> (String, Cursor) {
    let taken = addresses(taken);
    match choose(&parse(ranges), wish, last, 0, &mut |ip| Ok(taken.contains(&ip))) {
        Ok((chosen, cursor)) => {
            let texts: Vec<String> = chosen.iter().map(IpAddr::to_string).collect();
            (texts.join(" "), cursor)
        }
        Err(refusal) => (format!("{refusal:?}"), last),
    }
}

#[test]
fn a_range_that_retires_gives_no_pod_an_address_but_its_own() {
    let six = parse(&["fd00::/126"]);
    let mut ranges = parse(&["10.1.0.0/29", "10.1.1.0/30"]);
    ranges[0] = ranges[0].clone().retire();
    let last = cursor("10.1.0.2", "");
    let chosen = |ranges: &[Range], wish: Wish<'_>, taken: &[&str]| {
        let taken = addresses(taken);
        choose(ranges, wish, last, 0, &mut |ip| Ok(taken.contains(&ip))).map(|(chosen, _)| chosen)
    };
    let new = chosen(&ranges, Wish::default(), &[]).unwrap();
    assert_eq!(new, [IpAddr::from([10, 1, 1, 1])], "wherever the last one was");
    let full = chosen(&ranges, Wish::default(), &["10.1.1.1", "10.1.1.2"]);
    assert!(matches!(full, Err(Refusal::Exhausted { v4: true })), "{full:?}");
    let own = [IpAddr::from([10, 1, 0, 5])];
    let again = chosen(&ranges, Wish { preferred: &own, ..Wish::default() }, &[]).unwrap();
    assert_eq!(again, own);
    let asked = chosen(&ranges, Wish { requested: &own, ..Wish::default() }, &[]);
    assert!(matches!(asked, Err(Refusal::OutOfRanges(_))), "{asked:?}");
    // The other family does not make up for it.
    let mixed = [&ranges[..1], &six].concat();
    let none = chosen(&mixed, Wish::default(), &[]);
    assert!(matches!(none, Err(Refusal::Exhausted { v4: true })), "{none:?}");
}

#[test]
fn round_robin_over_the_ranges_of_each_family() {
    let (a, b, six) = ("10.1.0.0/29", "10.1.1.0/30", "fd00::/126");
    #[rustfmt::skip]
    let cases: &[(&[&str], &[&str], Cursor, &str)] = &[
        // The first of each family, IPv4 first whatever the order of the file.
        (&[a], &[], cursor("", ""), "10.1.0.1"),
        (&[six, a], &[], cursor("", ""), "10.1.0.1 fd00::1"),
        (&[six], &[], cursor("10.1.0.1", ""), "fd00::1"),
        // After the last one given, jumping over what is taken.
        (&[a], &[], cursor("10.1.0.1", ""), "10.1.0.2"),
        (&[a], &["10.1.0.3", "10.1.0.4"], cursor("10.1.0.2", ""), "10.1.0.5"),
        (&[a, six], &["fd00::3"], cursor("10.1.0.3", "fd00::2"), "10.1.0.4 fd00::1"),
        // From range to range, and round to the first.
        (&[a, b], &[], cursor("10.1.0.6", ""), "10.1.1.1"),
        (&[a, b], &[], cursor("10.1.1.2", ""), "10.1.0.1"),
        (&[a, b], &["10.1.1.1", "10.1.1.2"], cursor("10.1.0.6", ""), "10.1.0.1"),
        // The last one given comes last, but it comes.
        (&[b], &["10.1.1.2"], cursor("10.1.1.1", ""), "10.1.1.1"),
        (&[a, b], &["10.1.0.1", "10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.1.1", "10.1.1.2"],
            cursor("10.1.0.3", ""), "10.1.0.3"),
        // A cursor that the ranges do not know any more.
        (&[a], &[], cursor("192.0.2.1", ""), "10.1.0.1"),
        (&[b, a], &[], cursor("10.1.0.7", ""), "10.1.1.1"),
        // Full, of one family or the other.
        (&[b], &["10.1.1.1", "10.1.1.2"], cursor("10.1.1.2", ""), "Exhausted { v4: true }"),
        (&[a, six], &["fd00::1", "fd00::2", "fd00::3"], cursor("", ""), "Exhausted { v4: false }"),
        (&[], &[], cursor("", ""), "Exhausted { v4: true }"),
    ];
    for (ranges, taken, last, expected) in cases {
        let (chosen, after) = outcome(ranges, taken, *last, Wish::default());
        assert_eq!(&chosen, expected, "{ranges:?} {taken:?} {last:?}");
        if !expected.starts_with("Exhausted") {
            for address in addresses(&expected.split(' ').collect::<Vec<_>>()) {
                assert_eq!(after.last(address.is_ipv4()), Some(address));
            }
        }
    }
}

#[test]
fn the_seed_decides_where_to_begin() {
    let (a, b, six) = ("10.1.0.0/29", "10.1.1.0/30", "fd00::/64");
    #[rustfmt::skip]
    let cases: &[(&[&str], Cursor, u64, &str)] = &[
        (&[a, b, six], cursor("", ""), 0, "10.1.0.1 fd00::1"),
        (&[a, b, six], cursor("", ""), 3, "10.1.0.4 fd00::4"),
        // In the first range, and by the number's remainder. Nothing is after its last: then its first.
        (&[a, b], cursor("", ""), 5, "10.1.0.6"),
        (&[a, b], cursor("", ""), 6, "10.1.0.1"),
        (&[a, b], cursor("", ""), 7, "10.1.0.1"),
        (&[a, b], cursor("", ""), 8 + 3, "10.1.0.4"),
        (&[six], cursor("", ""), 0xffff, "fd00::1:0"),
        (&[six], cursor("", ""), u64::MAX, "fd00::1:0"),
        (&[six], cursor("", ""), 0x1_0000, "fd00::1"),
        // Of each family by itself; a cursor that no range has is none.
        (&[a, six], cursor("10.1.0.1", ""), 3, "10.1.0.2 fd00::4"),
        (&[a], cursor("192.0.2.1", ""), 3, "10.1.0.4"),
        (&["255.255.254.0/24"], cursor("", ""), 9, "255.255.254.10"),
    ];
    for (ranges, last, seed, expected) in cases {
        let (chosen, _) =
            choose(&parse(ranges), Wish::default(), *last, *seed, &mut |_| Ok(false)).unwrap();
        assert_eq!(chosen, addresses(&expected.split(' ').collect::<Vec<_>>()), "{seed}");
    }
}

#[test]
fn requested_addresses_are_given_or_refused() {
    let ranges = ["10.1.0.0/29", "fd00::/125"];
    let last = cursor("10.1.0.2", "fd00::2");
    let cases: &[(&[&str], &str)] = &[
        (&["10.1.0.6"], "10.1.0.6 fd00::3"),
        (&["fd00::6"], "10.1.0.3 fd00::6"),
        (&["fd00::6", "10.1.0.6"], "10.1.0.6 fd00::6"),
        (&["10.1.0.5"], "Taken(10.1.0.5)"),
        (&["10.1.0.0"], "OutOfRanges(10.1.0.0)"),
        (&["10.1.0.7"], "OutOfRanges(10.1.0.7)"),
        (&["10.1.0.6", "192.0.2.1"], "SeveralOfFamily(10.1.0.6, 192.0.2.1)"),
        (&["10.1.0.6", "fd01::1"], "OutOfRanges(fd01::1)"),
        (&["10.1.0.5", "fd01::1"], "OutOfRanges(fd01::1)"),
    ];
    for (requested, expected) in cases {
        let requested = addresses(requested);
        let wish = Wish { requested: &requested, preferred: &[] };
        let (chosen, after) = outcome(&ranges, &["10.1.0.5"], last, wish);
        assert_eq!(&chosen, expected);
        if requested.len() == 2 {
            assert_eq!(after, last, "a requested address does not move the cursor");
        }
    }
    let v6 = addresses(&["fd00::5"]);
    let wish = Wish { requested: &v6, preferred: &[] };
    assert_eq!(outcome(&["10.1.0.0/29"], &[], last, wish).0, "OutOfRanges(fd00::5)");
}

#[test]
fn preferred_addresses_are_kept_while_they_can_be() {
    let ranges = ["10.1.0.0/29", "fd00::/125"];
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["10.1.0.6", "fd00::6"], &[], "10.1.0.6 fd00::6"),
        (&["10.1.0.5", "fd00::6"], &[], "10.1.0.1 fd00::6"),
        (&["10.9.0.5", "fd00::6"], &[], "10.1.0.1 fd00::6"),
        (&["10.1.0.6", "fd00::6"], &["10.1.0.4"], "10.1.0.4 fd00::6"),
    ];
    for (preferred, requested, expected) in cases {
        let (preferred, requested) = (addresses(preferred), addresses(requested));
        let wish = Wish { requested: &requested, preferred: &preferred };
        assert_eq!(&outcome(&ranges, &["10.1.0.5"], Cursor::default(), wish).0, expected);
    }
}

#[test]
fn a_failing_probe_is_not_taken_for_free() {
    let failed = |_| Err(Error::Folder { path: "/x".into(), why: "a test" });
    let refusal =
        choose(&parse(&["10.1.0.0/29"]), Wish::default(), cursor("", ""), 0, &mut { failed });
    assert!(matches!(refusal, Err(Refusal::Unknown(Error::Folder { .. }))), "{refusal:?}");
}

#[test]
fn a_large_range_costs_a_probe_for_each_taken_neighbour_only() {
    let mut probes = 0;
    let ranges = parse(&["fd00::/64"]);
    let chosen = choose(&ranges, Wish::default(), cursor("", "fd00::ffff"), 0, &mut |address| {
        probes += 1;
        Ok(address <= addresses(&["fd00::1:9"])[0])
    });
    assert_eq!(chosen.unwrap().0, addresses(&["fd00::1:a"]));
    assert_eq!(probes, 11);
}

#[test]
fn the_cursor_reads_as_documented() {
    let both = cursor("10.244.1.7", "fd00::7");
    let text = r#"{"4":"10.244.1.7","6":"fd00::7"}"#;
    assert_eq!(serde_json::to_string(&both).unwrap(), text);
    assert_eq!(serde_json::from_str::<Cursor>(text).unwrap(), both);
    assert_eq!(serde_json::to_string(&Cursor::default()).unwrap(), "{}");
}

proptest! {
    /// The choice is free, is one that the ranges give, and comes out exactly if there is one.
    #[test]
    fn a_choice_is_free_and_given(
        taken in proptest::collection::btree_set(1u8..15, 0..16),
        last in proptest::option::of(0u8..32),
    ) {
        let ranges = parse(&["10.0.0.0/29", "10.0.0.8/29"]);
        let given: BTreeSet<u8> = (1..=6).chain(9..=14).collect();
        let cursor = Cursor { v4: last.map(|last| [10, 0, 0, last].into()), v6: None };
        let mut probe = |address| match address {
            IpAddr::V4(address) => Ok(taken.contains(&address.octets()[3])),
            IpAddr::V6(_) => Ok(true),
        };
        match choose(&ranges, Wish::default(), cursor, 0, &mut probe) {
            Ok((chosen, _)) => {
                let free: Vec<u8> = given.difference(&taken).copied().collect();
                // The next free one after the last, or the first. A last one of no range is none.
                let last = last.filter(|last| *last < 16).unwrap_or(0);
                let next = free.iter().find(|n| **n > last).or(free.first());
                let next = next.map(|n| IpAddr::from([10, 0, 0, *n]));
                prop_assert_eq!(Some(chosen[0]), next);
            }
            Err(refusal) => {
                let exhausted = matches!(refusal, Refusal::Exhausted { v4: true });
                prop_assert!(exhausted && given.is_subset(&taken));
            }
        }
    }

    /// Freed at once or kept, each address is given once before any is given twice.
    #[test]
    fn no_address_is_reused_before_all_others_were_given(rounds in 1usize..4, seed: u64) {
        let ranges = parse(&["10.0.0.0/29", "10.0.1.0/30", "fd00::/125"]);
        let mut cursor = Cursor::default();
        for _ in 0..rounds {
            let mut seen = BTreeSet::new();
            for _ in 0..8 {
                let (chosen, next) =
                    choose(&ranges, Wish::default(), cursor, seed, &mut |_| Ok(false)).unwrap();
                cursor = next;
                prop_assert!(seen.insert(chosen[0]));
            }
        }
    }
}
