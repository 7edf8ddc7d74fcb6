//! The heat map as a picture: a row for each node's address, a column for each who asked.

use std::fmt::Write as _;

use super::report::{ProbeReport, milliseconds};
use super::shade::{LEGEND, Shade};

/// Pixels of a cell, of its row's and its column's labels, and around all.
const CELL: usize = 18;
const ROW_LABEL: usize = 320;
const COLUMN_LABEL: usize = 160;
const MARGIN: usize = 10;

/// All networks, one below the other.
pub fn draw(reports: &[ProbeReport]) -> String {
    let columns = reports.iter().map(|report| report.sources.len()).max().unwrap_or(0);
    let width = 2 * MARGIN + (ROW_LABEL + columns * CELL).max(LEGEND.len() * 110) + COLUMN_LABEL;
    let mut body = String::new();
    let mut y = MARGIN;
    for report in reports {
        y = network(&mut body, report, y);
    }
    for (index, (shade, words)) in LEGEND.iter().enumerate() {
        let x = MARGIN + index * 110;
        cell(&mut body, x, y, *shade, words);
        text(&mut body, x + CELL + 4, y + 13, words, "");
    }
    let height = y + CELL + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// One network from here on down; returns where it ends.
fn network(body: &mut String, report: &ProbeReport, top: usize) -> usize {
    let ProbeReport { network, node, targets, sources } = report;
    let title = format!("{network} from {node}: round trips over the overlay");
    text(body, MARGIN, top + 14, &title, " font-weight=\"bold\"");
    let top = top + COLUMN_LABEL;
    for (column, source) in sources.iter().enumerate() {
        let (x, y) = (MARGIN + ROW_LABEL + column * CELL + 13, top - 6);
        let turned = format!(" transform=\"rotate(-45 {x} {y})\"");
        text(body, x, y, &source.name, &turned);
    }
    for (row, target) in targets.iter().enumerate() {
        let y = top + row * CELL;
        text(body, MARGIN, y + 13, &format!("{} {}", target.node, target.address), "");
        for (column, source) in sources.iter().enumerate() {
            let shade = source.shade(target.address);
            let trip = match (source.answers.get(&target.address), shade) {
                (Some(trip), _) => format!("{} ms", milliseconds(*trip)),
                (None, Shade::Blank) => "not asked".into(),
                (None, _) => "no answer".into(),
            };
            let words = format!("{} to {}: {trip}", source.name, target.node);
            cell(body, MARGIN + ROW_LABEL + column * CELL, y, shade, &words);
        }
    }
    top + targets.len() * CELL + 2 * MARGIN
}

fn cell(body: &mut String, x: usize, y: usize, shade: Shade, words: &str) {
    let (size, colour, words) = (CELL - 2, shade.colour(), escape(words));
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" fill=\"{colour}\">\
         <title>{words}</title></rect>"
    );
}

fn text(body: &mut String, x: usize, y: usize, words: &str, attributes: &str) {
    let words = escape(words);
    let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\"{attributes}>{words}</text>");
}

/// Pods' names come from runtimes.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // XML 1.0 has no other control characters, not even escaped.
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_cell_for_each_pair() {
        let picture = draw(&[report()]);
        for words in [
            "<svg xmlns=",
            "pods from a: round trips over the overlay",
            "<title>a to b: 12.345 ms</title>",
            "<title>default/&lt;web&gt; to b: no answer</title>",
            "<title>default/&lt;web&gt; to b: not asked</title>",
        ] {
            assert!(picture.contains(words), "{words}: {picture}");
        }
        let cells = picture.matches("<title>").count();
        assert_eq!(cells, 2 * 3 + LEGEND.len());
        assert!(draw(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        assert_eq!(escape("a<b>&\"c\"\u{1b}[0m"), "a&lt;b&gt;&amp;\"c\"?[0m");
    }
}
