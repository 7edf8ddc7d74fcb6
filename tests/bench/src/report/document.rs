//! The generated section of `docs/performance.md`: what stands around it is written by hand.

use std::fs;
use std::path::Path;

/// The line above the section.
const BEGIN: &str = "<!-- From here on `make bench` writes. -->";
/// The line below it.
const END: &str = "<!-- To here. -->";

/// Replaces the section of a document.
pub fn refresh(file: &Path, section: &str) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = replaced(&text, section).unwrap_or_else(|line| {
        panic!("{}: no line `{line}`: where does the generated section go?", file.display())
    });
    fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

/// The text with another section; the line that is missing, if one is.
fn replaced(text: &str, section: &str) -> Result<String, &'static str> {
    let (before, rest) = text.split_once(BEGIN).ok_or(BEGIN)?;
    let (_, after) = rest.split_once(END).ok_or(END)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", section.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_section_stays() {
        let text = format!("by hand\n{BEGIN}\nold\n{END}\nby hand too\n");
        let expected = format!("by hand\n{BEGIN}\n\nnew\n\n{END}\nby hand too\n");
        assert_eq!(replaced(&text, "new\n"), Ok(expected.clone()));
        assert_eq!(replaced(&expected, "new"), Ok(expected));
        assert_eq!(replaced("by hand", "new"), Err(BEGIN));
        assert_eq!(replaced(BEGIN, "new"), Err(END));
    }
}
