//! The older packet filter, x_tables, which has no netlink: its own program tells, and only where
//! the kernel says that there is such a table at all.

use super::KernelError;
use super::forward::{Accept, ChainFamily, ForwardChain, Keeper, NamePattern};
use std::path::Path;
use std::process::Command;

/// Where the program is; a runtime may give us no search path.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// The chains FORWARD of the calling thread's network namespace whose policy is drop.
///
/// # Errors
/// There is such a table and it cannot be read.
pub fn forward_drops() -> Result<Vec<ForwardChain>, KernelError> {
    let mut found = Vec::new();
    for (family, program, tables) in [
        (ChainFamily::V4, "iptables-legacy", "/proc/thread-self/net/ip_tables_names"),
        (ChainFamily::V6, "ip6tables-legacy", "/proc/thread-self/net/ip6_tables_names"),
    ] {
        // Asking the program for a table that is not there would make it.
        let tables = std::fs::read_to_string(tables).unwrap_or_default();
        if tables.lines().any(|table| table == "filter") {
            found.extend(parse(family, &list(program)?));
        }
    }
    Ok(found)
}

/// What `iptables-legacy -S FORWARD` prints.
fn list(program: &str) -> Result<String, KernelError> {
    let failed = |reason: String| {
        let request = format!("{program} -w 1 -t filter -S FORWARD");
        KernelError::Answer { request, reason }
    };
    let path = FOLDERS.map(|folder| Path::new(folder).join(program));
    let path = path.iter().find(|path| path.exists()).ok_or_else(|| {
        failed("the kernel has such a table, but the program is not installed".into())
    })?;
    let output = Command::new(path)
        .args(["-w", "1", "-t", "filter", "-S", "FORWARD"])
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The chain, if its policy is drop.
fn parse(family: ChainFamily, listed: &str) -> Option<ForwardChain> {
    let mut lines = listed.lines();
    lines.next().filter(|policy| *policy == "-P FORWARD DROP")?;
    let accepts = lines.filter_map(accept).collect();
    let (table, name) = ("filter".into(), "FORWARD".into());
    Some(ForwardChain { keeper: Keeper::Legacy, family, table, name, accepts })
}

/// What a rule that accepts asks; `None` for another rule, and for what we do not understand.
fn accept(line: &str) -> Option<Accept> {
    let mut words = line.strip_prefix("-A FORWARD ")?.split(' ');
    let mut asked = Accept::default();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word {
            "-i" => asked.input = Some(pattern(value)),
            "-o" => asked.output = Some(pattern(value)),
            "-s" => asked.source = Some(value.parse().ok()?),
            "-d" => asked.destination = Some(value.parse().ok()?),
            "--src-group" => asked.input_group = Some(number(value)?),
            "--dst-group" => asked.output_group = Some(number(value)?),
            "-m" if value == "devgroup" => {}
            "-j" if value == "ACCEPT" => return Some(asked),
            _ => return None,
        }
    }
    None
}

fn pattern(text: &str) -> NamePattern {
    match text.strip_suffix('+') {
        Some(beginning) => NamePattern::Beginning(beginning.to_owned()),
        None => NamePattern::Exactly(text.to_owned()),
    }
}

fn number(text: &str) -> Option<u32> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_program_prints() {
        let listed = "-P FORWARD DROP\n\
            -A FORWARD -j DOCKER-USER\n\
            -A FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT\n\
            -A FORWARD -s 10.244.0.0/16 -o eth+ -j ACCEPT\n\
            -A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
            -A FORWARD -p tcp -j ACCEPT\n\
            -A FORWARD -j ACCEPT\n";
        let chain = parse(ChainFamily::V4, listed).unwrap();
        assert_eq!((chain.table.as_str(), chain.name.as_str()), ("filter", "FORWARD"));
        assert_eq!(
            chain.accepts,
            [
                Accept { input_group: Some(0x6600_1000), ..Accept::default() },
                Accept {
                    source: Some("10.244.0.0/16".parse().unwrap()),
                    output: Some(NamePattern::Beginning("eth".into())),
                    ..Accept::default()
                },
                Accept::default(),
            ]
        );
        assert_eq!(parse(ChainFamily::V4, "-P FORWARD ACCEPT\n"), None);
        assert_eq!(parse(ChainFamily::V4, ""), None);
    }
}
