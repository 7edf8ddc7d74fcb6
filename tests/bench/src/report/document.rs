//! The generated section of a document: what stands around it is written by hand.

use std::fs;
use std::path::Path;

/// The line below it.
const END: &str = "<!-- To here. -->";

/// The line above the section that a command writes.
fn begin(command: &str) -> String {
    format!("<!-- From here on `{command}` writes. -->")
}

/// Replaces the section of a document that a command writes.
pub fn refresh(file: &Path, command: &str, section: &str) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = replaced(&text, &begin(command), section).unwrap_or_else(|line| {
        panic!("{}: no line `{line}`: where does the generated section go?", file.display())
    });
    fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

/// The text with another section; the line that is missing, if one is.
fn replaced<'a>(text: &str, begin: &'a str, section: &str) -> Result<String, &'a str> {
    let (before, rest) = text.split_once(begin).ok_or(begin)?;
    let (_, after) = rest.split_once(END).ok_or(END)?;
    Ok(format!("{before}{begin}\n\n{}\n\n{END}{after}", section.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_section_stays() {
        let begin = begin("make it");
        let text = format!("by hand\n{begin}\nold\n{END}\nby hand too\n");
        let expected = format!("by hand\n{begin}\n\nnew\n\n{END}\nby hand too\n");
        assert_eq!(replaced(&text, &begin, "new\n"), Ok(expected.clone()));
        assert_eq!(replaced(&expected, &begin, "new"), Ok(expected));
        assert_eq!(replaced("by hand", &begin, "new"), Err(&*begin));
        assert_eq!(replaced(&begin, &begin, "new"), Err(END));
    }
}
