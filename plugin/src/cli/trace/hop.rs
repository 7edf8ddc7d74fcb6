//! The stations of a packet, and where it ends.

use anstyle::{AnsiColor, Style};
use flatnet_conf::printable;
use serde_json::{Value, json};

use crate::cli::output::{Answer, Outcome, columns};
use crate::cli::table::{Align, Table};

/// Before each station.
const INDENT: &str = "  ";

/// One station that the packet passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where.
    pub at: &'static str,
    /// What happens to it there.
    pub what: String,
    /// Whether it is known to pass.
    pub known: bool,
}

/// Where the packet ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it should, as far as this node can tell.
    Arrives(String),
    /// Before that: at which station, what is missing there, and what mends it.
    Stops {
        /// Where.
        at: &'static str,
        /// What is missing or wrong.
        what: String,
        /// What to do.
        mend: String,
    },
}

impl End {
    /// It ends early.
    pub fn stops(at: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Stops { at, what: what.into(), mend: mend.into() }
    }
}

/// The way of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// From whom to whom.
    pub title: String,
    /// The stations that it passes.
    pub hops: Vec<Hop>,
    /// Where it ends.
    pub end: End,
}

impl Trace {
    /// As text or as a document; a packet that ends early is a finding.
    pub fn answer(&self, json: bool) -> Answer {
        let outcome = match self.end {
            End::Arrives(_) => Outcome::Fine,
            End::Stops { .. } => Outcome::Finding,
        };
        match json {
            true => Answer::json(&self.json(), outcome),
            false => Answer { text: self.text(columns()), outcome },
        }
    }

    fn text(&self, within: Option<usize>) -> String {
        // No title: the rows speak for themselves.
        let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        for Hop { at, what, known } in &self.hops {
            let mark = if *known { "ok" } else { "?" };
            table.row([mark.into(), (*at).into(), what.clone()]);
        }
        let end = match &self.end {
            End::Arrives(where_to) => format!("{}\n", printable(where_to)),
            End::Stops { at, what, mend } => {
                table.row(["ENDS".into(), (*at).into(), what.clone()]);
                format!("mend: {}\n", printable(mend))
            }
        };
        let rows = table.render(within.map(|columns| columns.saturating_sub(INDENT.len())));
        let lines = rows.lines().skip(1).map(|line| format!("{INDENT}{}\n", coloured(line)));
        format!("{}\n{}{end}", printable(&self.title), lines.collect::<String>())
    }

    fn json(&self) -> Value {
        let hops = self
            .hops
            .iter()
            .map(|Hop { at, what, known }| json!({ "at": at, "what": what, "known": known }));
        let end = match &self.end {
            End::Arrives(where_to) => json!({ "arrives": true, "what": where_to }),
            End::Stops { at, what, mend } => {
                json!({ "arrives": false, "at": at, "what": what, "mend": mend })
            }
        };
        json!({ "trace": self.title, "hops": hops.collect::<Vec<_>>(), "end": end })
    }
}

fn coloured(line: &str) -> String {
    let style = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    let (good, bad) = (style(AnsiColor::Green), style(AnsiColor::Red).bold());
    match (line.strip_prefix("ok"), line.strip_prefix("ENDS")) {
        (Some(rest), _) => format!("{good}ok{good:#}{rest}"),
        (_, Some(rest)) => format!("{bad}ENDS{bad:#}{rest}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(end: End) -> Trace {
        let hop = |at, what: &str| Hop { at, what: what.into(), known: true };
        let hops = vec![hop("lease", "is held"), hop("neighbour", "is known")];
        Trace { title: "web to 10.1.2.7".into(), hops, end }
    }

    #[test]
    fn the_end_is_told_with_its_mend() {
        let whole = trace(End::Arrives("arrives at b".into()));
        let text = |trace: &Trace| anstream::adapter::strip_str(&trace.text(None)).to_string();
        assert_eq!(
            text(&whole),
            "web to 10.1.2.7\n  ok  lease      is held\n  ok  neighbour  is known\narrives at b\n"
        );
        assert_eq!(whole.answer(false).outcome, Outcome::Fine);
        let early = trace(End::stops("FDB", "there is no entry", "flatnet sync"));
        assert!(
            text(&early).ends_with("  ENDS  FDB        there is no entry\nmend: flatnet sync\n"),
            "{}",
            text(&early)
        );
        let answer = early.answer(true);
        assert_eq!(answer.outcome, Outcome::Finding);
        let document: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(
            document["end"],
            json!({ "arrives": false, "at": "FDB", "what": "there is no entry", "mend": "flatnet sync" })
        );
    }
}
