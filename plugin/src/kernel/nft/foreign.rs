//! Other tables' chains of hook forward, read from nf_tables' dumps: rules as `nft` and `iptables-nft` make
//! them. What is not understood is kept by its name.

use super::field::{Field, Loaded, Names};
use super::set::Set;
use super::verdict::{NF_DROP, verdict};
use crate::kernel::attribute::{decode, find, find_number, find_text};
use crate::kernel::foreign_chains::{Asks, ChainFamily, Condition, End, Rule};
use crate::kernel::xtables;
use std::collections::BTreeMap;

const HOOK_FORWARD: u32 = 2;
const RTN_LOCAL: u16 = 2;
/// `XT_CONNTRACK_STATE_ALIAS`: it was written as `-m state`.
const ALIAS: u16 = 1 << 13;
/// The registers of four bytes, by `NFT_REG32_00` and those behind it.
const REGISTERS: std::ops::Range<u32> = 8..24;

/// A base chain of hook forward.
pub(super) struct Base {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) drops: bool,
}

/// Those in a dump of chains, in the order in which packets come to them.
pub(super) fn bases(chains: &[Vec<u8>]) -> Vec<Base> {
    let base = |chain: &Vec<u8>| {
        let hook = find(chain, 4)?;
        (find_number(hook, 1)? == HOOK_FORWARD).then_some(())?;
        let base = Base {
            table: find_text(chain, 1)?.to_owned(),
            name: find_text(chain, 3)?.to_owned(),
            drops: find_number(chain, 5) == Some(NF_DROP),
        };
        let priority = find_number(hook, 2)? as i32; // two's complement
        Some((priority, base))
    };
    let mut bases: Vec<(i32, Base)> = chains.iter().filter_map(base).collect();
    bases.sort_by_key(|(priority, _)| *priority);
    bases.into_iter().map(|(_, base)| base).collect()
}

/// The names of the sets that the rules of a dump look into.
pub(super) fn sets(rules: &[Vec<u8>]) -> impl Iterator<Item = &str> {
    let expressions = rules.iter().filter_map(|rule| find(rule, 4)).flat_map(decode);
    let lookups = expressions.filter(|(_, part)| find_text(part, 1) == Some("lookup"));
    lookups.filter_map(|(_, part)| find_text(find(part, 2)?, 1))
}

/// The rules of one chain, out of a dump of at least these.
pub(super) fn rules(
    chain: &str,
    dump: &[Vec<u8>],
    family: ChainFamily,
    sets: &BTreeMap<String, Set>,
    names: &Names,
) -> Vec<Rule> {
    let ipv4 = (family != ChainFamily::Both).then_some(family == ChainFamily::V4);
    let own = dump.iter().filter(|rule| find_text(rule, 2) == Some(chain));
    let read = own.enumerate().flat_map(|(index, rule)| {
        let reader =
            Reader { sets, names, ipv4, registers: BTreeMap::new(), conditions: Vec::new() };
        let ends = reader.read(find(rule, 4).unwrap_or_default());
        let number = index + 1;
        ends.into_iter().map(move |(conditions, end)| Rule { number, conditions, end })
    });
    read.collect()
}

/// One rule as far as it is read.
struct Reader<'a> {
    sets: &'a BTreeMap<String, Set>,
    names: &'a Names,
    /// The family of the packets that come so far, where only one does.
    ipv4: Option<bool>,
    /// What is loaded in each register of four bytes.
    registers: BTreeMap<u32, Loaded>,
    conditions: Vec<Condition>,
}

/// What becomes of a packet of which this is so; more than one if a map decides.
type Ends = Vec<(Vec<Condition>, End)>;

impl Reader<'_> {
    fn read(mut self, expressions: &[u8]) -> Ends {
        for (_, expression) in decode(expressions) {
            let name = find_text(expression, 1).unwrap_or("an expression");
            let data = find(expression, 2).unwrap_or_default();
            match self.step(name, data) {
                Some(Step::On) => {}
                Some(Step::Ends(ends)) => return ends,
                None => self.add(Asks::Unknown(name.to_owned()).into()),
            }
        }
        vec![(self.conditions, End::Continue)]
    }

    /// One expression; `None` if it is not understood, and may be a condition.
    fn step(&mut self, name: &str, data: &[u8]) -> Option<Step> {
        match name {
            "counter" | "log" | "last" | "notrack" | "flow_offload" | "dup" => {}
            "limit" | "quota" | "connlimit" | "dynset" | "objref" => {
                self.conditions.push(Asks::Some(name.to_owned()).into());
            }
            "match" => self.extension(data)?,
            "target" => return Some(self.end(xtables::target(find_text(data, 1)?))),
            "reject" => return Some(self.end(End::Reject)),
            "queue" => return Some(self.end(End::Unknown(name.to_owned()))),
            "meta" => self.load(data, 1, || Field::meta(find_number(data, 2)))?,
            "ct" => self.load(data, 1, || Field::ct(find_number(data, 2)))?,
            "payload" => {
                let [base, offset, length] = [2, 3, 4].map(|kind| find_number(data, kind));
                let (offset, length, ipv4) = (offset?, length?, self.ipv4);
                self.load(data, 1, || Field::payload(base, offset, length, ipv4))?;
                if let Some(loaded) = self.loaded(data, 1) {
                    loaded.width = length as usize;
                }
            }
            "exthdr" => self.load(data, 1, || Field::Some("exthdr".into()))?,
            "bitwise" => {
                let mask = find(find(data, 4)?, 1)?.to_vec();
                let plain = find_number(data, 6).unwrap_or(0) == 0
                    && find(data, 5).and_then(|xor| find(xor, 1))?.iter().all(|byte| *byte == 0);
                let mut loaded = self.loaded(data, 1)?.clone();
                loaded.masked(plain.then_some(mask));
                self.registers.insert(register(data, 2)?, loaded);
            }
            "cmp" => {
                let (operator, value) = (find_number(data, 2)?, find(find(data, 3)?, 1)?);
                let condition = self.loaded(data, 1)?.clone().compared(operator, value, self.names);
                self.add(condition);
            }
            "range" => {
                let [from, to] = [3, 4].map(|kind| find(find(data, kind)?, 1));
                let asks = self.loaded(data, 1)?.clone().within(from?, to?, self.names).asks;
                self.add(Condition { not: find_number(data, 2) == Some(1), asks });
            }
            "lookup" => return self.lookup(data),
            "immediate" if find_number(data, 1) == Some(0) => {
                let end = verdict(find(find(data, 2)?, 2)?)?;
                return Some(self.end(end));
            }
            "immediate" => self.load(data, 1, || Field::Unknown(name.to_owned()))?,
            "byteorder" => {
                let mut loaded = self.loaded(data, 1)?.clone();
                loaded.masked(None);
                self.registers.insert(register(data, 2)?, loaded);
            }
            // NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
            "fib" if (find_number(data, 2), find_number(data, 3)) == (Some(3), Some(2)) => {
                self.load(data, 1, || Field::DestinationType)?;
            }
            // It may load something, and it is not known where.
            _ => {
                let unknown = Loaded::from(Field::Unknown(name.to_owned()));
                self.registers.extend(REGISTERS.map(|register| (register, unknown.clone())));
                return None;
            }
        }
        Some(Step::On)
    }

    /// Notes what an expression loads; one that has no such register writes to the packet instead.
    fn load(&mut self, data: &[u8], kind: u16, field: impl FnOnce() -> Field) -> Option<()> {
        if let Some(register) = register(data, kind) {
            self.registers.insert(register, Loaded::from(field()));
        }
        Some(())
    }

    fn loaded(&mut self, data: &[u8], kind: u16) -> Option<&mut Loaded> {
        self.registers.get_mut(&register(data, kind)?)
    }

    fn add(&mut self, condition: Condition) {
        if let (false, Asks::Ipv4(ipv4)) = (condition.not, &condition.asks) {
            self.ipv4 = Some(*ipv4);
        }
        if !self.conditions.contains(&condition) {
            self.conditions.push(condition);
        }
    }

    fn end(&mut self, end: End) -> Step {
        Step::Ends(vec![(std::mem::take(&mut self.conditions), end)])
    }

    /// Whether what is loaded is in a set; a map may tell the verdict.
    fn lookup(&mut self, data: &[u8]) -> Option<Step> {
        let set = self.sets.get(find_text(data, 1)?)?;
        let first = register(data, 2)?;
        let map = register(data, 3);
        if map.is_some_and(|to| to != 0) {
            self.load(data, 3, || Field::Unknown("map".into()))?;
            return Some(Step::On);
        }
        let elements = set.entries.iter().map(|entry| {
            (entry.conditions(first, &self.registers, self.names), entry.verdict.clone())
        });
        let elements: Vec<(Vec<Condition>, Option<End>)> = elements.collect();
        if map.is_none() {
            let these = elements.into_iter().map(|(conditions, _)| conditions).collect();
            let not = find_number(data, 5).unwrap_or(0) & 1 != 0;
            self.add(Condition { not, asks: Asks::OneOf(these) });
            return Some(Step::On);
        }
        let ends = elements.into_iter().map(|(conditions, end)| {
            let end = end.unwrap_or(End::Unknown("map".into()));
            ([&self.conditions[..], &conditions].concat(), end)
        });
        Some(Step::Ends(ends.collect()))
    }

    /// An extension of iptables, by its `struct xt_…_info`.
    fn extension(&mut self, data: &[u8]) -> Option<()> {
        let name = find_text(data, 1)?;
        let info = find(data, 3)?;
        let word = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
        let unknown = || Asks::Unknown(format!("-m {name}"));
        let asked = match name {
            "comment" => Vec::new(),
            // Flags, and a group and its mask for each direction.
            "devgroup" => {
                let flags = word(0)?;
                let input = Some(Asks::InputGroup(word(4)?)).filter(|_| word(8) == Some(u32::MAX));
                let output =
                    Some(Asks::OutputGroup(word(12)?)).filter(|_| word(16) == Some(u32::MAX));
                let asked = [(1, 2, input), (4, 8, output)].into_iter();
                let asked = asked.filter(|(asks, ..)| flags & asks != 0);
                asked
                    .map(|(_, not, asks)| (flags & not != 0, asks.unwrap_or_else(unknown)))
                    .collect()
            }
            // Two sets of types, and what is turned round.
            "addrtype" if half(0)? == 0 && half(2)? == 1 << RTN_LOCAL => {
                vec![(word(4)? & 2 != 0, Asks::always(false))]
            }
            "state" => vec![(false, Asks::State(word(0)?))],
            // Eight addresses, times, ports; then what is asked, what of it is turned round, and the states.
            "conntrack" => match half(146)? & !ALIAS {
                1 => vec![(half(148)? & 1 != 0, Asks::State(u32::from(half(150)? & 0xf)))],
                _ => vec![(false, unknown())],
            },
            _ => vec![(false, xtables::extension(name))],
        };
        self.conditions.extend(asked.into_iter().map(|(not, asks)| Condition { not, asks }));
        Some(())
    }
}

enum Step {
    On,
    Ends(Ends),
}

/// The register that an attribute names, in units of four bytes: 1 to 4 are the older names of the
/// four of sixteen bytes, of which the first is 8. 0 is that of the verdict.
fn register(data: &[u8], kind: u16) -> Option<u32> {
    let number = find_number(data, kind)?;
    Some(if (1..=4).contains(&number) { 4 + 4 * number } else { number })
}

#[cfg(test)]
#[path = "foreign/tests.rs"]
mod tests;
