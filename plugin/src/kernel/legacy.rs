//! The older packet filter, x_tables, which has no netlink: its own program tells, and only where
//! the kernel says that there is such a table at all.

use super::KernelError;
use super::foreign_chains::{
    Asks, ChainFamily, Condition, End, ForwardChain, Keeper, NamePattern, Rule, STATE_NEW,
};
use super::xtables::{extension, target};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Where the program is; a runtime may give us no search path.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// Tables that have a chain FORWARD that can drop.
const TABLES: [&str; 3] = ["filter", "mangle", "security"];

/// The chains FORWARD of the calling thread's network namespace.
///
/// # Errors
/// There is such a table and it cannot be read.
pub fn forward_chains() -> Result<Vec<ForwardChain>, KernelError> {
    let mut found = Vec::new();
    for (family, program, tables) in [
        (ChainFamily::V4, "iptables-legacy", "/proc/thread-self/net/ip_tables_names"),
        (ChainFamily::V6, "ip6tables-legacy", "/proc/thread-self/net/ip6_tables_names"),
    ] {
        // Asking the program for a table that is not there would make it.
        let there = std::fs::read_to_string(tables).unwrap_or_default();
        for table in TABLES.into_iter().filter(|table| there.lines().any(|line| line == *table)) {
            found.extend(parse(family, table, &list(program, table)?));
        }
    }
    Ok(found)
}

/// What `iptables-legacy -S` prints.
fn list(program: &str, table: &str) -> Result<String, KernelError> {
    let failed = |reason: String| {
        let request = format!("{program} -w 1 -t {table} -S");
        KernelError::Answer { request, reason }
    };
    let path = FOLDERS.map(|folder| Path::new(folder).join(program));
    let path = path.iter().find(|path| path.exists()).ok_or_else(|| {
        failed("the kernel has such a table, but the program is not installed".into())
    })?;
    let output = Command::new(path)
        .args(["-w", "1", "-t", table, "-S"])
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The chain FORWARD with the others of its table, if it is there.
pub fn parse(family: ChainFamily, table: &str, listed: &str) -> Option<ForwardChain> {
    let mut policy = None;
    let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for line in listed.lines() {
        let words = words(line);
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-P", "FORWARD", how] => policy = Some(*how == "DROP"),
            ["-N", chain] => drop(rules.entry((*chain).to_owned()).or_default()),
            ["-A", chain, rest @ ..] => {
                let number = rules.get(*chain).map_or(0, Vec::len) + 1;
                let (conditions, end) = read(rest, &rules);
                rules.entry((*chain).to_owned()).or_default().push(Rule {
                    number,
                    conditions,
                    end,
                });
            }
            _ => {}
        }
    }
    let (table, name) = (table.to_owned(), "FORWARD".into());
    Some(ForwardChain { keeper: Keeper::Legacy, family, table, name, drops: policy?, rules })
}

/// The words of a line; a comment in quotes is one.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => {
                escaped = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            ' ' if !quoted => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words.last_mut().into_iter().for_each(|word| word.push(letter));
    }
    words
}

/// What a rule asks and does. The program lists chains before rules, so what is none is a target.
fn read(words: &[&str], chains: &BTreeMap<String, Vec<Rule>>) -> (Vec<Condition>, End) {
    let (mut conditions, mut not) = (Vec::<Condition>::new(), false);
    // The last extension, until its options have said what it asks.
    let mut pending: Option<&str> = None;
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        if word == "!" {
            not = true;
            continue;
        }
        if word == "-f" {
            let asks = Asks::Some(word.into());
            conditions.push(Condition { not: std::mem::take(&mut not), asks });
            continue;
        }
        // Options of extensions may have several values, or none.
        let value = rest.clone().next().unwrap_or_default();
        let asks = match word {
            "-i" => Some(Asks::Input(pattern(value))),
            "-o" => Some(Asks::Output(pattern(value))),
            "-s" => value.parse::<IpNetwork>().ok().map(Asks::source),
            "-d" => value.parse::<IpNetwork>().ok().map(Asks::destination),
            "-p" => Some(Asks::Some(format!("-p {value}"))),
            "--src-group" => number(value).map(Asks::InputGroup),
            "--dst-group" => number(value).map(Asks::OutputGroup),
            "--ctstate" | "--state" => states(value),
            // What is forwarded is to no address of this node's.
            "--dst-type" if value == "LOCAL" => Some(Asks::always(false)),
            "-j" | "-g" => {
                conditions.extend(pending.map(|name| extension(name).into()));
                let end = match (word, chains.contains_key(value)) {
                    ("-g", _) => End::Goto(value.to_owned()),
                    (_, true) => End::Jump(value.to_owned()),
                    (_, false) => target(value),
                };
                return (conditions, end);
            }
            "-m" => {
                conditions.extend(pending.take().map(|name| extension(name).into()));
                pending = rest.next().filter(|name| *name != "comment");
                continue;
            }
            "--comment" => {
                rest.next();
                continue;
            }
            // Of the extension that is pending, or one more of which we know only the first.
            option if option.starts_with("--") => {
                not = false;
                let more = || Asks::Unknown(option.to_owned()).into();
                conditions.extend(pending.is_none().then(more));
                continue;
            }
            _ => continue,
        };
        rest.next();
        if word.starts_with("--") {
            pending = None;
        }
        conditions.push(Condition {
            not: std::mem::take(&mut not),
            asks: asks.unwrap_or_else(|| Asks::Unknown(format!("{word} {value}"))),
        });
    }
    (conditions, End::Continue)
}

/// As numbers of nf_tables; what is not of the state itself is none.
fn states(value: &str) -> Option<Asks> {
    let bit = |state: &str| match state {
        "INVALID" => Some(1),
        "ESTABLISHED" => Some(2),
        "RELATED" => Some(4),
        "NEW" => Some(STATE_NEW),
        "UNTRACKED" => Some(64),
        // Of what NAT has changed; packets between pods are not.
        "SNAT" | "DNAT" => Some(0),
        _ => None,
    };
    value.split(',').map(bit).try_fold(0, |all, bit| Some(all | bit?)).map(Asks::State)
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

    fn rule(number: usize, conditions: &[Asks], end: End) -> Rule {
        let conditions = conditions.iter().cloned().map(Condition::from).collect();
        Rule { number, conditions, end }
    }

    #[test]
    fn reads_what_the_program_prints() {
        let listed = "-P INPUT DROP\n\
            -P FORWARD ACCEPT\n\
            -N USER\n\
            -A FORWARD -m comment --comment \"for -j DROP\" -j USER\n\
            -A FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT\n\
            -A FORWARD -s 10.244.0.0/16 -o eth+ -m conntrack --ctstate RELATED,ESTABLISHED -j LOG\n\
            -A FORWARD -i docker0 ! -o docker0 -g USER\n\
            -A FORWARD -p tcp -m tcp --dport 25 -m set --match-set x src -j RETURN\n\
            -A USER -j REJECT --reject-with icmp-host-prohibited\n";
        let chain = parse(ChainFamily::V4, "filter", listed).unwrap();
        assert_eq!((chain.drops, &chain.name[..], &chain.table[..]), (false, "FORWARD", "filter"));
        let exactly = |name: &str| NamePattern::Exactly(name.into());
        let mut isolated = rule(
            4,
            &[Asks::Input(exactly("docker0")), Asks::Output(exactly("docker0"))],
            End::Goto("USER".into()),
        );
        isolated.conditions[1].not = true;
        let part = |name: &str| Asks::Some(name.into());
        assert_eq!(
            chain.rules["FORWARD"],
            [
                rule(1, &[], End::Jump("USER".into())),
                rule(2, &[Asks::InputGroup(0x6600_1000)], End::Accept),
                rule(
                    3,
                    &[
                        Asks::source("10.244.0.0/16".parse().unwrap()),
                        Asks::Output(NamePattern::Beginning("eth".into())),
                        Asks::State(6),
                    ],
                    End::Continue
                ),
                isolated,
                rule(
                    5,
                    &[part("-p tcp"), part("-m tcp"), Asks::Unknown("-m set".into())],
                    End::Return
                ),
            ]
        );
        assert_eq!(chain.rules["USER"], [rule(1, &[], End::Reject)]);
        assert!(parse(ChainFamily::V4, "filter", "-P FORWARD DROP\n").unwrap().drops);
        assert_eq!(parse(ChainFamily::V4, "filter", ""), None);
    }
}
