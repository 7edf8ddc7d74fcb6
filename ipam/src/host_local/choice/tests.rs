//! Which addresses come out of which sets.

use serde_json::{Value, json};

use super::*;
use crate::fixture::addresses;
use crate::host_local::tests::sets;

/// Chooses, with the outcome as text: the addresses, or why there are none.
fn outcome(ranges: &Value, taken: &[&str], [requested, held, last]: [&[&str]; 3]) -> String {
    let (sets, taken) = (sets(ranges), addresses(taken));
    let last: Vec<Option<IpAddr>> = last.iter().map(|text| text.parse().ok()).collect();
    let (requested, held) = (addresses(requested), addresses(held));
    let choice = Choice { requested: &requested, held: &held, last: &last };
    match choose(&sets, choice, &mut |address| Ok(taken.contains(&address))) {
        Ok(chosen) => {
            let text = |(address, range): &(IpAddr, &SetRange)| {
                assert!(range.covers(*address));
                address.to_string()
            };
            chosen.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    }
}

/// Sets, what is taken, the choice (requested, held, last given of each set), and the outcome.
type Case<'a> = (&'a Value, &'a [&'a str], [&'a [&'a str]; 3], &'a str);

#[test]
fn one_of_each_set_round_robin() {
    let a = json!([{"subnet": "10.1.0.0/29"}]);
    let a2 = json!([{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/30"}]);
    let six = json!([{"subnet": "fd00::/126"}]);
    let one = json!([a]);
    let (two, three) = (json!([a, six]), json!([six, a2, [{"subnet": "10.3.0.0/30"}]]));
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        // In the order of the sets; several of one family are fine.
        (&two, &[], [&[], &[], &[]], "10.1.0.2 fd00::2"),
        (&three, &[], [&[], &[], &[]], "fd00::2 10.1.0.2 10.3.0.2"),
        // From the last one given, over what is taken and the gateway, and round.
        (&one, &[], [&[], &[], &["10.1.0.2"]], "10.1.0.3"),
        (&one, &["10.1.0.3", "10.1.0.4"], [&[], &[], &["10.1.0.2"]], "10.1.0.5"),
        (&one, &[], [&[], &[], &["10.1.0.6"]], "10.1.0.2"),
        (&one, &["10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6"], [&[], &[], &["10.1.0.3"]], "10.1.0.3"),
        (&three, &[], [&[], &[], &["", "10.1.0.6"]], "fd00::2 10.2.0.2 10.3.0.2"),
        (&three, &["10.1.0.2"], [&[], &[], &["", "10.2.0.2"]], "fd00::2 10.1.0.3 10.3.0.2"),
        (&one, &[], [&[], &[], &["192.0.2.1"]], "10.1.0.2"),
        // What it holds already, and only that.
        (&two, &["10.1.0.5"], [&[], &["10.1.0.5"], &["10.1.0.5"]], "10.1.0.5 fd00::2"),
        (&one, &["10.9.0.5"], [&[], &["10.9.0.5"], &[]], "10.1.0.2"),
        (&one, &["10.1.0.1"], [&[], &["10.1.0.1"], &[]], "10.1.0.2"),
        // What is asked for, in whatever order, rather than what it holds.
        (&two, &[], [&["fd00::3", "10.1.0.6"], &[], &[]], "10.1.0.6 fd00::3"),
        (&two, &["10.1.0.5"], [&["10.1.0.6"], &["10.1.0.5"], &[]], "10.1.0.6 fd00::2"),
        (&one, &["10.1.0.6"], [&["10.1.0.6"], &["10.1.0.6"], &[]], "10.1.0.6"),
        (&three, &[], [&["10.2.0.2", "10.3.0.2"], &[], &[]], "fd00::2 10.2.0.2 10.3.0.2"),
    ];
    for (ranges, taken, choice, expected) in cases {
        assert_eq!(&outcome(ranges, taken, *choice), expected, "{ranges} {taken:?} {choice:?}");
    }
}

#[test]
fn what_cannot_be_given() {
    let one = json!([[{"subnet": "10.1.0.0/30"}]]);
    let none = json!([[{"subnet": "10.1.0.0/30", "rangeEnd": "10.1.0.1"}]]);
    let set = "request one address of each range set, in its ranges";
    #[rustfmt::skip]
    let cases: &[(&Value, &[&str], &[&str], &str)] = &[
        (&one, &["10.1.0.2"], &[], "no address left in 10.1.0.1-10.1.0.2: add a range to this set, or delete attachments"),
        (&none, &[], &[], "no address left in 10.1.0.1-10.1.0.1: add a range to this set, or delete attachments"),
        (&one, &["10.1.0.2"], &["10.1.0.2"], "the requested address 10.1.0.2 is taken by another attachment: request another, or delete that one"),
        (&one, &[], &["10.1.0.1"], "the requested address 10.1.0.1 is the gateway of its range: request another"),
        (&one, &[], &["10.1.0.3"], &format!("cannot give the requested addresses 10.1.0.3: {set}")),
        (&one, &[], &["10.1.0.2", "10.1.0.2"], &format!("cannot give the requested addresses 10.1.0.2: {set}")),
        (&one, &[], &["10.9.0.1", "fd00::1", "10.1.0.2"], &format!("cannot give the requested addresses 10.9.0.1, fd00::1: {set}")),
    ];
    for (ranges, taken, requested, expected) in cases {
        assert_eq!(&outcome(ranges, taken, [requested, &[], &[]]), expected);
    }
}
