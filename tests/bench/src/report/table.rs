//! Tables that can be read on a terminal and in Markdown alike.

use crate::bars::{Limit, Verdict};
use crate::measure::{FLATNET, Findings, Key};

/// A header and rows, as a Markdown table with aligned columns.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.enumerate().map(|(n, cell)| format!(" {cell:0$} |", width(n)));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String =
        (0..header.len()).map(|n| format!("{}|", "-".repeat(width(n) + 2))).collect();
    let rows: String = rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect();
    format!("{}|{rule}\n{rows}", line(&mut header.iter().copied()))
}

/// Every series of a part: a row for each test and case, a column for each contender.
pub fn findings(findings: &Findings) -> String {
    let mut contenders: Vec<&str> = Vec::new();
    let mut tests: Vec<(&str, &str, &str)> = Vec::new();
    for series in &findings.series {
        let (key, unit) = (&series.key, series.unit);
        if !contenders.contains(&key.contender.as_str()) {
            contenders.push(&key.contender);
        }
        if !tests.contains(&(key.test.as_str(), key.case.as_str(), unit)) {
            tests.push((&key.test, &key.case, unit));
        }
    }
    // flatnet stands first, in whatever order they were measured.
    contenders.sort_by_key(|name| *name != FLATNET);
    let header: Vec<&str> = ["", "", "unit"].into_iter().chain(contenders.clone()).collect();
    let row = |(test, case, unit): &(&str, &str, &str)| {
        let cells = contenders.iter().map(|name| cell(findings, name, test, case));
        [test, case, unit].into_iter().map(|text| (*text).to_owned()).chain(cells).collect()
    };
    markdown(&header, &tests.iter().map(row).collect::<Vec<_>>())
}

/// `median / p99 (ratio)`: the ratio is flatnet's to this contender's.
fn cell(findings: &Findings, contender: &str, test: &str, case: &str) -> String {
    let key = Key::new(contender, test, case);
    let Some(series) = findings.series(&key) else { return String::new() };
    let numbers = match series.samples.len() {
        1 => number(series.median()),
        _ => format!("{} / {}", number(series.median()), number(series.p99())),
    };
    let ratio = findings.ratio(&Key::new(FLATNET, test, case), &key);
    match ratio.filter(|_| contender != FLATNET) {
        Some(ratio) => format!("{numbers} ({ratio:.2})"),
        None => numbers,
    }
}

/// The bars and how they turned out.
pub fn verdicts(verdicts: &[Verdict]) -> String {
    let row = |verdict: &Verdict| {
        let limit = match verdict.bar.limit {
            Limit::AtMost(most) => format!("at most {most:.2}"),
            Limit::AtLeast(least) => format!("at least {least:.2}"),
        };
        let ratio = verdict.ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}"));
        let met = if verdict.met { "met" } else { "**not met**" };
        vec![verdict.bar.text.clone(), ratio, limit, met.to_owned()]
    };
    markdown(&["ratio", "measured", "bar", ""], &verdicts.iter().map(row).collect::<Vec<_>>())
}

/// Three digits that mean something.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::Bar;

    #[test]
    fn a_row_tells_median_p99_and_ratio() {
        let mut found = Findings::default();
        for sample in [8.0, 4.0, 12.0] {
            found.push(&Key::new("ptp", "ADD", "0 pods"), "ms", sample);
            found.push(&Key::new(FLATNET, "ADD", "0 pods"), "ms", sample / 4.0);
        }
        found.push(&Key::new("ptp", "size", ""), "MiB", 123.4);
        let expected = "\
            |      |        | unit | flatnet     | ptp                |\n\
            |------|--------|------|-------------|--------------------|\n\
            | ADD  | 0 pods | ms   | 2.00 / 3.00 | 8.00 / 12.0 (0.25) |\n\
            | size |        | MiB  |             | 123                |\n";
        assert_eq!(findings(&found), expected);
    }

    #[test]
    fn a_bar_tells_its_limit_and_whether_it_holds() {
        let mut found = Findings::default();
        let (ours, theirs) = (Key::new(FLATNET, "ADD", ""), Key::new("ptp", "ADD", ""));
        found.push(&ours, "ms", 1.0);
        found.push(&theirs, "ms", 4.0);
        let judge = |limit| Bar::new("b", ours.clone(), theirs.clone(), limit).judge(&found);
        let table = verdicts(&[judge(Limit::AtMost(0.3)), judge(Limit::AtLeast(1.28))]);
        assert!(table.contains("| b     | 0.250    | at most 0.30  | met         |"), "{table}");
        assert!(table.contains("| b     | 0.250    | at least 1.28 | **not met** |"), "{table}");
    }
}
