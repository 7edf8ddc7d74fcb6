//! Messages quote what others have written. On its way to a terminal, a log or a runtime such a
//! text stays one line of bounded length, without characters that a terminal would obey.

/// The longest text that is shown whole, in bytes.
const LONGEST: usize = 8192;
/// How much of a longer one is shown of its end, where a message says what to do.
const TAIL: usize = 1024;

/// The text on one line: characters that do not print (control and format characters, line breaks)
/// are escaped as Rust escapes them, and what is in the middle of a long text is left out.
pub fn one_line(text: &str) -> String {
    if text.len() <= LONGEST {
        return printable(text);
    }
    let head = boundary(text, LONGEST - TAIL);
    let tail = boundary(text, text.len() - TAIL);
    let (head, rest) = text.split_at(head);
    let (left_out, tail) = rest.split_at(tail - head.len());
    format!("{} [{} bytes left out] {}", printable(head), left_out.len(), printable(tail))
}

/// The text without any character that a terminal would obey, a line break among them: those are written
/// as in Rust's literals.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Escaped in Rust's literals only.
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}

/// The last boundary of characters up to `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let cases = [
            ("plain \"quoted\" C:\\ it's é 日本", "plain \"quoted\" C:\\ it's é 日本"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[2J\u{7f}\u{9b}1m\0", "\\u{1b}[2J\\u{7f}\\u{9b}1m\\0"),
            ("\u{202e}gnp.exe\u{2028}", "\\u{202e}gnp.exe\\u{2028}"),
        ];
        for (text, expected) in cases {
            assert_eq!(one_line(text), expected);
        }
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        let whole = "x".repeat(LONGEST);
        assert_eq!(one_line(&whole), whole);
        let text = format!("name: \"{}\" is wrong", "é".repeat(1_000_000));
        let line = one_line(&text);
        assert!(line.starts_with("name: \"éé") && line.ends_with("éé\" is wrong"), "{line}");
        assert!(line.contains("bytes left out") && line.len() < LONGEST + 100, "{}", line.len());
    }
}
