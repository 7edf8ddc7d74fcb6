//! What a text that is no JSON is instead, where its bytes tell: editors of some systems save text with
//! a byte-order mark or as UTF-16, and a parser then only says that it expected a value.

/// Why the bytes cannot be JSON, and what to do; `None` where the parser's own words say more.
pub(crate) fn problem(bytes: &[u8]) -> Option<&'static str> {
    const UTF_8: &str = "it begins with a byte-order mark (the bytes EF BB BF); save it as UTF-8 \
                         without one: `sed -i '1s/^\\xef\\xbb\\xbf//' FILE`";
    const UTF_16: &str = "it is UTF-16; save it as UTF-8: `iconv -f UTF-16 -t UTF-8 FILE`";
    const UTF_32: &str = "it is UTF-32; save it as UTF-8: `iconv -f UTF-32 -t UTF-8 FILE`";
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some(UTF_8),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(UTF_32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(UTF_16),
        // JSON begins with two characters of ASCII (RFC 4627, section 3).
        [0, 0, 0, c, ..] | [c, 0, 0, 0, ..] if *c != 0 => Some(UTF_32),
        [0, c, ..] | [c, 0, ..] if *c != 0 => Some(UTF_16),
        _ if bytes.contains(&0) => Some("it is not a text; put the right file in its place"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(mark: bool, width: usize, big: bool) -> Vec<u8> {
        let text = if mark { "\u{feff}{}" } else { "{}" };
        let unit = |c: char| {
            let bytes = u32::from(c).to_be_bytes();
            let mut unit = bytes[4 - width..].to_vec();
            if !big {
                unit.reverse();
            }
            unit
        };
        text.chars().flat_map(unit).collect()
    }

    #[test]
    fn an_encoding_is_told_by_its_first_bytes() {
        let (bom, utf16, utf32) = ("byte-order mark", "it is UTF-16", "it is UTF-32");
        assert!(problem("\u{feff}{}".as_bytes()).unwrap().contains(bom));
        for (width, words) in [(2, utf16), (4, utf32)] {
            for (mark, big) in [(true, true), (true, false), (false, true), (false, false)] {
                let found = problem(&encoded(mark, width, big)).unwrap();
                assert!(found.starts_with(words), "{width} {mark} {big}: {found}");
            }
        }
        assert!(problem(b"\x7fELF\x02\x01\x01\0\0").unwrap().starts_with("it is not a text"));
        for plain in ["", "{", "{}", "é", "[1]", "x"] {
            assert_eq!(problem(plain.as_bytes()), None, "{plain}");
        }
    }
}
