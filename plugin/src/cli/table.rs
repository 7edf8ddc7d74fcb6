//! Tables for people: columns as wide as their widest cell, two spaces between them; where that is
//! wider than the terminal, the widest columns give way, and their cells go on in the next line.

use anstyle::Style;
use flatnet_conf::printable;

/// Between columns.
const GAP: usize = 2;
/// No column gives way below this.
const NARROWEST: usize = 12;

/// On which side a column's cells are flush.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A header and rows of cells.
#[derive(Clone, Debug)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    /// Of each row.
    styles: Vec<Style>,
}

impl Table {
    /// A table with these column titles.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Align)>) -> Self {
        let (titles, align) =
            columns.into_iter().map(|(title, align)| (title.into(), align)).unzip();
        Self { align, rows: vec![titles], styles: vec![Style::new()] }
    }

    /// Adds a row: one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled(Style::new(), cells);
    }

    /// Adds a row that stands out.
    pub fn styled(&mut self, style: Style, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
        self.styles.push(style);
    }

    /// The text, no space at line ends: within so many columns of a terminal if that can be done,
    /// else one line for each row.
    pub fn render(&self, within: Option<usize>) -> String {
        let widths = self.widths(within.unwrap_or(usize::MAX));
        self.rows
            .iter()
            .zip(&self.styles)
            .map(|(row, style)| self.lines(row, &widths, style))
            .collect()
    }

    fn widths(&self, within: usize) -> Vec<usize> {
        let columns = 0..self.align.len();
        let widest = |measure: fn(&str) -> usize| -> Vec<usize> {
            let cells = |n: usize| self.rows.iter().filter_map(move |row| row.get(n));
            columns.clone().map(|n| cells(n).map(|cell| measure(cell)).max().unwrap_or(0)).collect()
        };
        let mut widths = widest(length);
        let gaps = GAP * widths.len().saturating_sub(1);
        // First columns whose cells can go on at a space, then names, then addresses.
        let words = widest(|cell| cell.split(' ').map(length).max().unwrap_or(0));
        let parts =
            widest(|cell| cell.split_inclusive([' ', '/', '-']).map(length).max().unwrap_or(0));
        for least in [words, parts, vec![0; widths.len()]] {
            while widths.iter().sum::<usize>() + gaps > within {
                let gives = |n: &usize| widths[*n] > least[*n].max(NARROWEST);
                let Some(n) = columns.clone().filter(gives).max_by_key(|&n| widths[n]) else {
                    break;
                };
                widths[n] -= 1;
            }
        }
        widths
    }

    fn lines(&self, row: &[String], widths: &[usize], style: &Style) -> String {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |n: usize| {
            let part = |cell: &Vec<String>| cell.get(n).cloned().unwrap_or_default();
            let parts = cells.iter().map(part).zip(&self.align).zip(widths);
            let parts = parts.map(|((part, align), &width)| match align {
                Align::Left => format!("{part:<width$}"),
                Align::Right => format!("{part:>width$}"),
            });
            let line = parts.collect::<Vec<_>>().join(&" ".repeat(GAP));
            format!("{style}{}{style:#}\n", line.trim_end())
        };
        (0..height).map(line).collect()
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A cell in lines of that width: parted at spaces, and inside of words that are longer, there after
/// `/` or `-` if that leaves half a line.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    if length(cell) <= width {
        return vec![cell.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => *line += &format!(" {word}"),
            _ => {
                let mut rest = word;
                while !rest.is_empty() {
                    let (head, tail) = cut(rest, width);
                    lines.push(head.to_owned());
                    rest = tail;
                }
            }
        }
    }
    lines
}

/// As much of a word as fits, and the rest.
fn cut(word: &str, width: usize) -> (&str, &str) {
    let Some((end, _)) = word.char_indices().nth(width.max(1)) else { return (word, "") };
    let part = word[..end].rfind(['/', '-']).map(|at| at + 1).filter(|at| *at > end / 2);
    word.split_at(part.unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("NODE", Align::Left), ("PODS", Align::Right)]);
        table.row(["é".into(), "7".into()]);
        table.row(["node-10".into(), "12345".into()]);
        table.row([String::new(), String::new()]);
        assert_eq!(table.render(None), "NODE      PODS\né            7\nnode-10  12345\n\n");
    }

    #[test]
    fn what_is_too_wide_goes_on_in_the_next_line() {
        let mut table =
            Table::new([("POD", Align::Left), ("AGE", Align::Right), ("STATE", Align::Left)]);
        table.row(["kube-system/coredns-5d78c9869d-abcde".into(), "9h".into(), "whole".into()]);
        table.row(["web".into(), "2m".into(), "drifted: 1 change to make".into()]);
        assert_eq!(
            table.render(Some(40)),
            "POD                    AGE  STATE\n\
             kube-system/coredns-    9h  whole\n\
             5d78c9869d-abcde\n\
             web                     2m  drifted: 1\n\
             \x20                           change to\n\
             \x20                           make\n"
        );
        assert_eq!(table.render(Some(80)), table.render(None));

        let mut table = Table::new([("POD", Align::Left), ("ADDRESSES", Align::Left)]);
        table.row(["default/a-name-in-parts".into(), "10.244.1.7, fd00:10:244:1::7".into()]);
        assert_eq!(
            table.render(Some(32)),
            "POD             ADDRESSES\n\
             default/a-      10.244.1.7,\n\
             name-in-parts   fd00:10:244:1::7\n",
            "no address is parted"
        );
        let narrow = table.render(Some(1));
        assert!(narrow.lines().all(|line| line.len() <= 12 + 2 + 3 + 2 + 12), "{narrow}");
    }

    #[test]
    fn every_word_of_a_cell_is_kept() {
        let cells = [
            "",
            "a",
            "10.244.1.7, fd00:10:244:1::7",
            "é é éééééééééééééééé",
            "a  b",
            "-/-/-/-/-/-/-/",
        ];
        for cell in cells {
            for width in 1..30 {
                let lines = wrap(cell, width);
                assert!(
                    lines.iter().all(|line| length(line) <= width),
                    "{cell:?} {width} {lines:?}"
                );
                let kept: String = lines.concat().split(' ').collect();
                assert_eq!(kept, cell.split(' ').collect::<String>(), "{width}");
            }
        }
    }

    #[test]
    fn a_row_that_stands_out_does_so_in_every_line() {
        let mut table = Table::new([("A", Align::Left)]);
        table.styled(anstyle::AnsiColor::Red.on_default(), ["one two three four".into()]);
        let red = anstyle::AnsiColor::Red.on_default();
        assert_eq!(
            table.render(Some(12)).lines().skip(1).collect::<Vec<_>>(),
            [format!("{red}one two{red:#}"), format!("{red}three four{red:#}")]
        );
    }
}
