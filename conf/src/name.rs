//! The rules for names. Names become parts of file names, so these rules are also what keeps a
//! configuration from reaching outside the state folder.

/// Whether this is an identifier of the CNI specification: `^[A-Za-z0-9][A-Za-z0-9_.-]*$`, for
/// `CNI_CONTAINERID` and a network's name. There is no limit to its length.
pub(crate) fn is_identifier(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// What is wrong with an interface's name, if anything: `dev_valid_name` of the kernel, and `%`,
/// which it would fill in as a pattern, and control characters, which `ip link` would print as such.
pub(crate) fn interface_name_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 15 {
        return Some("must have 1 to 15 bytes");
    }
    if text == "." || text == ".." {
        return Some("must be neither . nor ..");
    }
    let bad = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    text.chars().any(bad).then_some("must not hold /, :, %, white space or control characters")
}

/// What is wrong with a node's name, if anything: a DNS-1123 subdomain, as Kubernetes wants it.
pub fn node_name_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 253 {
        return Some("must have 1 to 253 characters");
    }
    text.split('.').find_map(|label| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if label.is_empty() || label.len() > 63 {
            Some("must be labels of 1 to 63 characters, joined by dots")
        } else if !label.bytes().all(inner) {
            Some("must hold only lower-case letters, digits, - and .")
        } else if label.starts_with('-') || label.ends_with('-') {
            Some("must not have a label that begins or ends with -")
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "0", "pods", "A_b.c-d", &"x".repeat(5000)] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "é", "aé", "a\n"] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }

    #[test]
    fn interface_names() {
        const BAD_CHARACTER: &str = "must not hold /, :, %, white space or control characters";
        for good in ["eth0", "x", "fifteen-letters", "é", "..."] {
            assert_eq!(interface_name_problem(good), None, "{good}");
        }
        let cases = [
            ("", "must have 1 to 15 bytes"),
            ("sixteen-letters!", "must have 1 to 15 bytes"),
            (".", "must be neither . nor .."),
            ("..", "must be neither . nor .."),
            ("a/b", BAD_CHARACTER),
            ("a:b", BAD_CHARACTER),
            ("eth%d", BAD_CHARACTER),
            ("a b", BAD_CHARACTER),
            ("a\u{a0}b", BAD_CHARACTER),
            ("a\0b", BAD_CHARACTER),
            ("\u{1b}[2J", BAD_CHARACTER),
        ];
        for (bad, problem) in cases {
            assert_eq!(interface_name_problem(bad), Some(problem), "{bad}");
        }
    }

    #[test]
    fn node_names() {
        let label = "a".repeat(63);
        let longest = [label.as_str(), &label, &label, &label[..61]].join(".");
        for good in ["a", "node-a", "10.0.0.1", "node-a.example.org", &label, &longest] {
            assert_eq!(node_name_problem(good), None, "{good}");
        }
        let long_label = "a".repeat(64);
        let too_long = format!("{longest}a");
        for bad in [
            "",
            ".",
            "..",
            "a.",
            ".a",
            "a..b",
            "A",
            "a_b",
            "-a",
            "a-",
            "a/b",
            "é",
            &long_label,
            &too_long,
        ] {
            assert!(node_name_problem(bad).is_some(), "{bad}");
        }
    }
}
