//! What `flatnet status` says of a network's fast path.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kernel::fast_path::{COUNTS, Counts, Flows};
use crate::overlay::fast_path::{Entrance, Report, Stands};

/// Where packets go that take it.
const FAST: [&str; 4] = ["toPod", "toOverlay", "toUplink", "fromUplink"];
/// Why others do not, in words.
const SLOW: [(&str, &str); 8] = [
    ("unknown", "of no learned flow"),
    ("handshake", "beginning or ending a connection"),
    ("asked", "to have a flow approved again"),
    ("stale", "of a flow without approval"),
    ("other", "of other kinds"),
    ("tooLarge", "too large"),
    ("expires", "at the end of their TTL"),
    ("astray", "by another device than their flow's"),
];

/// Lines for people; none where it is not configured.
pub fn lines(report: &Report) -> Vec<String> {
    match (report.wanted, &report.stands, &report.obstacle) {
        (false, ..) => Vec::new(),
        (_, Some(stands), _) => in_force(stands),
        (.., Some(obstacle)) => vec![format!("  BPF      no fast path: {obstacle}")],
        (.., None) => {
            vec!["  BPF      no fast path: it is not brought about yet (flatnet sync)".into()]
        }
    }
}

fn in_force(stands: &Stands) -> Vec<String> {
    let Stands { counts, flows: Flows { fresh, .. }, uplinks, entrances } = stands;
    let fast: u64 = FAST.iter().map(|name| of(counts, name)).sum();
    let slow: u64 = SLOW.iter().map(|(name, _)| of(counts, name)).sum();
    let share = match fast + slow {
        0 => String::new(),
        all => {
            format!(", {} of {all} packets ({} %)", fast, u128::from(fast) * 100 / u128::from(all))
        }
    };
    let by = match uplinks.is_empty() {
        true => "the overlay's device".into(),
        false => uplinks.join(", "),
    };
    let open = entrances.iter().filter(|(_, entrance)| *entrance == Entrance::Open);
    let open: Vec<&str> = open.map(|(dev, _)| &dev[..]).collect();
    let unwrapped = match open.is_empty() {
        true => String::new(),
        false => format!(", unwrapped at {}", open.join(", ")),
    };
    let mut lines = vec![format!("  BPF      fast path by {by}{unwrapped}: {fresh} flows{share}")];
    let closed = entrances.iter().filter_map(|(dev, entrance)| Some((dev, why_closed(entrance)?)));
    lines.extend(closed.map(|(dev, why)| format!("           not unwrapped at {dev}: {why}")));
    let mut reasons: Vec<_> = SLOW.iter().map(|(name, words)| (of(counts, name), words)).collect();
    reasons.retain(|(count, _)| *count > 0);
    reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let reasons: Vec<String> =
        reasons.into_iter().map(|(count, words)| format!("{count} {words}")).collect();
    if !reasons.is_empty() {
        lines.push(format!("           the usual way: {}", reasons.join(", ")));
    }
    match of(counts, "failed") {
        0 => {}
        failed => lines.push(format!(
            "           dropped: {failed} cut short while encapsulated or unwrapped"
        )),
    }
    lines
}

fn why_closed(entrance: &Entrance) -> Option<String> {
    match entrance {
        Entrance::Open => None,
        Entrance::Missing => Some("its filter is missing (flatnet sync)".to_owned()),
        Entrance::Unfit(why) => Some(why.to_string()),
    }
}

fn of(counts: &Counts, name: &str) -> u64 {
    let place = COUNTS.iter().position(|known| *known == name);
    place.and_then(|place| counts.get(place)).copied().unwrap_or_default()
}

/// For scripts.
pub fn json(report: &Report) -> Value {
    let Report { wanted, stands, obstacle } = report;
    let counts = stands.as_ref().map(|stands| {
        let counts = stands.counts.iter().copied();
        COUNTS.iter().copied().zip(counts).collect::<BTreeMap<&str, u64>>()
    });
    let flows = stands.as_ref().map(|stands| {
        let Flows { fresh, known, most } = stands.flows;
        json!({ "fresh": fresh, "known": known, "most": most })
    });
    let unwrapped = stands.as_ref().map(|stands| {
        let entrance = |(dev, entrance): &(String, Entrance)| {
            json!({ "dev": dev, "open": *entrance == Entrance::Open, "why": why_closed(entrance) })
        };
        stands.entrances.iter().map(entrance).collect::<Vec<_>>()
    });
    json!({
        "wanted": wanted,
        "stands": stands.is_some(),
        "obstacle": obstacle.as_ref().map(ToString::to_string),
        "flows": flows,
        "uplinks": stands.as_ref().map(|stands| &stands.uplinks),
        "unwrappedAt": unwrapped,
        "counts": counts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::fast_path::{Obstacle, Unfit};

    fn report(counted: &[(&str, u64)], uplinks: &[&str]) -> Report {
        let mut counts = Counts::default();
        for (name, count) in counted {
            counts[COUNTS.iter().position(|known| known == name).unwrap()] = *count;
        }
        let flows = Flows { fresh: 3, known: 40, most: 65536 };
        let uplinks = uplinks.iter().map(|name| (*name).to_owned()).collect();
        let entrances = Vec::new();
        let stands = Some(Stands { counts, flows, uplinks, entrances });
        Report { wanted: true, stands, obstacle: None }
    }

    #[test]
    fn every_count_is_told() {
        let names = FAST.into_iter().chain(SLOW.map(|(name, _)| name));
        let told: Vec<_> = names.chain(["learned", "approved", "failed"]).collect();
        assert!(COUNTS.iter().all(|name| told.contains(name)), "{told:?}");
        assert!(told.iter().all(|name| COUNTS.contains(name)), "{told:?}");
    }

    #[test]
    fn hits_and_why_others_are_none() {
        let counted =
            [("toPod", 60), ("toUplink", 30), ("learned", 4), ("handshake", 2), ("unknown", 8)];
        assert_eq!(
            lines(&report(&counted, &["eth0"])),
            [
                "  BPF      fast path by eth0: 3 flows, 90 of 100 packets (90 %)",
                "           the usual way: 8 of no learned flow, 2 beginning or ending a connection",
            ]
        );
        assert_eq!(
            lines(&report(&[("failed", 1)], &[])),
            [
                "  BPF      fast path by the overlay's device: 3 flows",
                "           dropped: 1 cut short while encapsulated or unwrapped",
            ]
        );
        let document = json(&report(&counted, &["eth0"]));
        assert_eq!(document["counts"]["toPod"], 60);
        assert_eq!(document["flows"], json!({ "fresh": 3, "known": 40, "most": 65536 }));
        assert_eq!(document["uplinks"], json!(["eth0"]));
    }

    #[test]
    fn where_packets_are_unwrapped_and_why_not() {
        let mut report = report(&[("fromUplink", 1)], &["eth0", "br0"]);
        let entrances = [
            ("eth0", Entrance::Open),
            ("br0", Entrance::Unfit(Unfit::Kind("bridge".into()))),
            ("eth1", Entrance::Missing),
        ];
        report.stands.as_mut().unwrap().entrances =
            entrances.into_iter().map(|(dev, it)| (dev.to_owned(), it)).collect();
        assert_eq!(
            lines(&report),
            [
                "  BPF      fast path by eth0, br0, unwrapped at eth0: 3 flows, 1 of 1 packets (100 %)",
                "           not unwrapped at br0: it is of the kind bridge",
                "           not unwrapped at eth1: its filter is missing (flatnet sync)",
            ]
        );
        let told = &json(&report)["unwrappedAt"];
        assert_eq!(told[0], json!({ "dev": "eth0", "open": true, "why": null }));
        assert_eq!(told[1]["why"], "it is of the kind bridge");
    }

    #[test]
    fn why_there_is_none() {
        let mut report = Report::default();
        assert_eq!(lines(&report), [""; 0]);
        assert_eq!(json(&report)["stands"], false);
        report.wanted = true;
        assert_eq!(
            lines(&report),
            ["  BPF      no fast path: it is not brought about yet (flatnet sync)"]
        );
        report.obstacle = Some(Obstacle::Ipsec);
        assert!(lines(&report)[0].starts_with("  BPF      no fast path: there are IPsec policies"));
        assert!(json(&report)["obstacle"].as_str().unwrap().starts_with("there are IPsec"));
    }
}
