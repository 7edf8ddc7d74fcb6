//! Where other programs' tables lead a packet before it is routed (DNAT), as far as their rules speak of its
//! destination: kube-proxy's Services, published ports. Read from nf_tables' dumps, as `nft`, kube-proxy and
//! `iptables-nft` make rules. What a rule asks beside the destination, a port above all, is taken to apply.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::objects::{Family, TABLE, octets};
use super::{NftError, Nftables, question};
use crate::kernel::attribute::{decode, find, find_number, find_text};
use crate::kernel::foreign_chains::ChainFamily;

const HOOK_PREROUTING: u32 = 0;
/// The kernel's own limit of jumps (`NFT_JUMP_STACK_SIZE`).
const JUMPS: usize = 16;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// A table that has rules about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// As in `table ip kube-proxy`.
    pub table: String,
    /// Where it may lead the packet, with the port if it sets that; empty if no rule that is understood
    /// leads anywhere.
    pub to: BTreeSet<(IpAddr, Option<u16>)>,
}

impl Nftables {
    /// The tables of others whose rules name this destination where destinations are rewritten.
    pub fn redirects(&mut self, to: IpAddr) -> Result<Vec<Redirect>, NftError> {
        let (own, word) = match to {
            IpAddr::V4(_) => (ChainFamily::V4, "ip"),
            IpAddr::V6(_) => (ChainFamily::V6, "ip6"),
        };
        let mut found = Vec::new();
        for (family, word) in [(own, word), (ChainFamily::Both, "inet")] {
            let chains = self.wire.dump_of(family, "all chains", &question::chains())?;
            let mut tables: HashMap<&str, Vec<&str>> = HashMap::new();
            for (table, chain) in chains.iter().filter_map(|chain| rewriting(chain)) {
                tables.entry(table).or_default().push(chain);
            }
            tables.remove(TABLE);
            for (table, chains) in tables {
                let rules = self.wire.dump_of(family, "all rules", &question::rules(table))?;
                let mut elements = |set: &str| {
                    let elements = question::elements(table, set);
                    self.wire.dump_of(family, "a set's elements", &elements)
                };
                let mut search = Search::new(to, &rules, &mut elements);
                for chain in chains {
                    search.follow(chain, false, JUMPS)?;
                }
                if search.named {
                    found.push(Redirect {
                        table: format!("table {word} {table}"),
                        to: search.found,
                    });
                }
            }
        }
        found.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(found)
    }
}

/// Table and name of a base chain that rewrites destinations before they are routed.
fn rewriting(chain: &[u8]) -> Option<(&str, &str)> {
    let hook = find_number(find(chain, 4)?, 1)?;
    let rewrites = hook == HOOK_PREROUTING && find_text(chain, 7)? == "nat";
    Some((find_text(chain, 1)?, find_text(chain, 3)?)).filter(|_| rewrites)
}

/// Asks the kernel for a set's elements.
type Elements<'a> = dyn FnMut(&str) -> Result<Vec<Vec<u8>>, NftError> + 'a;

/// Goes through the rules of one table.
struct Search<'a> {
    family: Family,
    to: Vec<u8>,
    rules: HashMap<&'a str, Vec<&'a [u8]>>,
    elements: &'a mut Elements<'a>,
    /// Chains that were gone through, and whether a rule had named the destination before.
    seen: HashSet<(String, bool)>,
    /// Whether a rule that names the destination does something with it.
    named: bool,
    found: BTreeSet<(IpAddr, Option<u16>)>,
}

/// What a register holds.
enum Loaded {
    /// The destination, with the bits that count.
    Destination(Vec<u8>),
    /// The version of IP.
    Version,
    /// One of these.
    Values(Vec<Vec<u8>>),
}

/// An element of a set or map.
struct Element {
    key: Vec<u8>,
    /// It ends an interval.
    end: bool,
    value: Vec<u8>,
    chain: Option<String>,
}

/// Where a rule stands.
struct State {
    registers: HashMap<u32, Loaded>,
    /// Whether it is about the destination.
    named: bool,
    /// How many jumps are left.
    jumps: usize,
}

impl State {
    /// What is in the register that this attribute names.
    fn loaded(&self, data: &[u8], kind: u16) -> Option<&Loaded> {
        self.registers.get(&find_number(data, kind)?)
    }

    fn load(&mut self, data: &[u8], kind: u16, loaded: Option<Loaded>) {
        let Some(register) = find_number(data, kind) else { return };
        match loaded {
            Some(loaded) => self.registers.insert(register, loaded),
            None => self.registers.remove(&register),
        };
    }

    fn values(&self, data: &[u8], kind: u16) -> &[Vec<u8>] {
        match self.loaded(data, kind) {
            Some(Loaded::Values(values)) => values,
            _ => &[],
        }
    }
}

impl<'a> Search<'a> {
    fn new(to: IpAddr, rules: &'a [Vec<u8>], elements: &'a mut Elements<'a>) -> Self {
        let mut by_chain: HashMap<&str, Vec<&[u8]>> = HashMap::new();
        for rule in rules {
            if let (Some(chain), Some(expressions)) = (find_text(rule, 2), find(rule, 4)) {
                by_chain.entry(chain).or_default().push(expressions);
            }
        }
        Self {
            family: Family::of(&to),
            to: octets(to),
            rules: by_chain,
            elements,
            seen: HashSet::new(),
            named: false,
            found: BTreeSet::new(),
        }
    }

    fn follow(&mut self, chain: &str, named: bool, jumps: usize) -> Result<(), NftError> {
        if jumps == 0 || !self.seen.insert((chain.to_owned(), named)) {
            return Ok(());
        }
        self.named |= named;
        for rule in self.rules.get(chain).cloned().unwrap_or_default() {
            self.rule(rule, named, jumps)?;
        }
        Ok(())
    }

    /// One rule, up to where it is about other destinations or leads away.
    fn rule(&mut self, rule: &[u8], named: bool, jumps: usize) -> Result<(), NftError> {
        let mut state = State { registers: HashMap::new(), named, jumps };
        for (_, expression) in decode(rule) {
            let name = find_text(expression, 1).unwrap_or_default();
            let data = find(expression, 2).unwrap_or_default();
            let goes_on = match name {
                "cmp" => self.compare(&mut state, data),
                "lookup" => self.look_up(&mut state, data)?,
                "immediate" => self.immediate(&mut state, data)?,
                _ => {
                    self.other(name, &mut state, data);
                    true
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Whether the rule goes on behind a comparison: it does with what we do not understand.
    fn compare(&self, state: &mut State, data: &[u8]) -> bool {
        let value = find(data, 3).and_then(|data| find(data, 1)).unwrap_or_default();
        let (same, names) = match state.loaded(data, 1) {
            Some(Loaded::Destination(mask)) => (self.is(mask, value), true),
            Some(Loaded::Version) => (value == [self.version()], false),
            _ => return true,
        };
        match find_number(data, 2) {
            Some(0) => state.named |= same && names,
            Some(1) => return !same,
            _ => return true,
        }
        same
    }

    /// A set or a map.
    fn look_up(&mut self, state: &mut State, data: &[u8]) -> Result<bool, NftError> {
        let all = self.set(find_text(data, 1).unwrap_or_default())?;
        let asked = match state.loaded(data, 2) {
            Some(Loaded::Destination(mask)) => mask.iter().all(|bits| *bits == 0xff),
            _ => false,
        };
        // Behind the address in the key may stand a protocol and a port.
        let meant = all.iter().filter(|element| !asked || element.key.starts_with(&self.to));
        match find_number(data, 3) {
            Some(VERDICT) => {
                let chains: Vec<_> = meant.filter_map(|element| element.chain.clone()).collect();
                for chain in chains {
                    self.follow(&chain, state.named || asked, state.jumps - 1)?;
                }
                Ok(false)
            }
            Some(register) => {
                let values: Vec<_> = meant.map(|element| element.value.clone()).collect();
                let any = !values.is_empty();
                state.registers.insert(register, Loaded::Values(values));
                state.named |= asked;
                Ok(any)
            }
            None if asked => {
                let inverted = find_number(data, 5).unwrap_or(0) & 1 != 0;
                let within = contains(&all, &self.to);
                state.named |= within && !inverted;
                Ok(within != inverted)
            }
            None => Ok(true),
        }
    }

    /// A verdict, or a value for a register.
    fn immediate(&mut self, state: &mut State, data: &[u8]) -> Result<bool, NftError> {
        let loaded = find(data, 2).unwrap_or_default();
        if let Some(verdict) = find(loaded, 2) {
            if let Some(chain) = find_text(verdict, 2) {
                self.follow(chain, state.named, state.jumps - 1)?;
            }
            return Ok(false);
        }
        let value = find(loaded, 1).unwrap_or_default().to_vec();
        state.load(data, 1, Some(Loaded::Values(vec![value])));
        Ok(true)
    }

    /// What loads or leads.
    fn other(&mut self, name: &str, state: &mut State, data: &[u8]) {
        const NFT_META_NFPROTO: u32 = 15;
        const NFT_NAT_DNAT: u32 = 1;
        match name {
            "payload" => {
                let loaded = self.is_destination(data).map(Loaded::Destination);
                state.load(data, 1, loaded);
            }
            "bitwise" => {
                let mask = find(data, 4).and_then(|mask| find(mask, 1)).unwrap_or_default();
                let loaded = match state.loaded(data, 1) {
                    Some(Loaded::Destination(_)) => Some(Loaded::Destination(mask.to_vec())),
                    _ => None,
                };
                state.load(data, 2, loaded);
            }
            "meta" => {
                let version = find_number(data, 2) == Some(NFT_META_NFPROTO);
                state.load(data, 1, version.then_some(Loaded::Version));
            }
            "fib" | "ct" | "numgen" => state.load(data, 1, None),
            "nat" if state.named && find_number(data, 1) == Some(NFT_NAT_DNAT) => {
                let port = state.values(data, 5).first().and_then(|port| be16(port));
                state.values(data, 3).iter().for_each(|address| self.lead(address, port));
            }
            "target" if state.named && find_text(data, 1) == Some("DNAT") => {
                let info = find(data, 3).unwrap_or_default();
                // struct nf_nat_ipv4_multi_range_compat, struct nf_nat_range2
                let (address, port) =
                    if find_number(data, 2) == Some(0) { (8, 16) } else { (4, 36) };
                let port = info.get(port..).and_then(be16).filter(|port| *port != 0);
                self.lead(info.get(address..).unwrap_or_default(), port);
            }
            _ => {}
        }
    }

    /// A packet may be led to the address that these bytes begin with.
    fn lead(&mut self, bytes: &[u8], port: Option<u16>) {
        let address = match self.family {
            Family::V4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
            Family::V6 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        };
        self.named = true;
        self.found.extend(address.map(|address| (address, port)));
    }

    /// Which bits of the destination a `payload` loads.
    fn is_destination(&self, data: &[u8]) -> Option<Vec<u8>> {
        let length = find_number(data, 4)?;
        let network = find_number(data, 2) == Some(1);
        let there = find_number(data, 3) == Some(self.family.destination());
        let whole = length <= self.family.length();
        (network && there && whole).then(|| vec![0xff; length as usize])
    }

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    fn version(&self) -> u8 {
        match self.family {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Whether the destination has this value in these bits.
    fn is(&self, mask: &[u8], value: &[u8]) -> bool {
        let masked = self.to.iter().zip(mask).map(|(byte, bits)| byte & bits);
        masked.eq(value.iter().copied())
    }

    fn set(&mut self, name: &str) -> Result<Vec<Element>, NftError> {
        let dump = (self.elements)(name)?;
        let all = dump.iter().filter_map(|message| find(message, 3)).flat_map(decode);
        Ok(all.filter_map(|(_, element)| read(element)).collect())
    }
}

fn read(element: &[u8]) -> Option<Element> {
    let data = find(element, 2).unwrap_or_default();
    let chain = find(data, 2).and_then(|verdict| find_text(verdict, 2));
    Some(Element {
        key: find(find(element, 1)?, 1)?.to_vec(),
        end: find_number(element, 3).unwrap_or(0) & 1 != 0, // NFT_SET_ELEM_INTERVAL_END
        value: find(data, 1).unwrap_or_default().to_vec(),
        chain: chain.map(str::to_owned),
    })
}

/// Whether a set has this key, by itself or within an interval.
fn contains(all: &[Element], key: &[u8]) -> bool {
    let intervals = all.iter().any(|element| element.end);
    if !intervals {
        return all.iter().any(|element| element.key == key);
    }
    // Where one ends and the next begins, the beginning counts.
    let before = all.iter().filter(|element| element.key.as_slice() <= key);
    before.max_by_key(|element| (&element.key, !element.end)).is_some_and(|element| !element.end)
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
#[path = "redirect/tests.rs"]
mod tests;
