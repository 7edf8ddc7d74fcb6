//! `resolvConf`: name resolution of the result, from a file as resolv.conf(5) describes it.

use std::path::Path;

use flatnet_conf::{Dns, read_file};
use flatnet_ipam::{Error, Result};

/// Reads a file; an error with code 5 if that fails.
pub fn read(path: &Path) -> Result<Dns> {
    let failed = |source| Error::Io { action: "read resolvConf", path: path.to_owned(), source };
    read_file(path).map(|bytes| parse(&String::from_utf8_lossy(&bytes))).map_err(failed)
}

/// Lines that are not understood are passed over, as the resolver does. The last `domain` counts;
/// all of the others add up.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let Some(keyword) = words.next() else { continue };
        let mut values = words.map(str::to_owned);
        match keyword {
            "nameserver" => dns.nameservers.extend(values.next()),
            "domain" => dns.domain = values.next().or(dns.domain),
            "search" => dns.search.extend(values),
            "options" => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_keyword() {
        let text = "# comment\n; another\n\nnameserver 192.0.2.0 # first\n nameserver\t192.0.2.1\n\
                    nameserver\ndomain a.example\ndomain b.example\nsearch x.example y.example\n\
                    search z.example\noptions debug ndots:5\nsortlist 10.0.0.0\noptions rotate\r\n";
        let expected = Dns {
            nameservers: texts(&["192.0.2.0", "192.0.2.1"]),
            domain: Some("b.example".to_owned()),
            search: texts(&["x.example", "y.example", "z.example"]),
            options: texts(&["debug", "ndots:5", "rotate"]),
        };
        assert_eq!(parse(text), expected);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nonexistent/resolv.conf")).unwrap_err();
        assert_eq!(error.code(), 5);
        let text = error.to_string();
        assert!(text.starts_with("cannot read resolvConf /nonexistent/resolv.conf: "), "{text}");
    }
}
