//! Other tables' chains that drop what is forwarded, read from nf_tables' dumps, and what of their
//! rules we understand: rules as `nft` and `iptables-nft` make them out of addresses and devices.

use crate::kernel::attribute::{decode, find, find_number, find_text};
use crate::kernel::forward::{Accept, ChainFamily, ForwardChain, Keeper, NamePattern};
use ipnetwork::IpNetwork;
use std::net::IpAddr;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_JUMP: u32 = -3_i32 as u32;
const NFT_GOTO: u32 = -4_i32 as u32;
const HOOK_FORWARD: u32 = 2;
/// The kernel's own limit of jumps (`NFT_JUMP_STACK_SIZE`).
const JUMPS: usize = 16;

/// Table and name of each chain in a dump that drops by policy what is forwarded.
pub(super) fn dropping(chains: &[Vec<u8>]) -> Vec<(String, String)> {
    let drops = |chain: &&Vec<u8>| {
        let hook = find(chain, 4).and_then(|hook| find_number(hook, 1));
        hook == Some(HOOK_FORWARD) && find_number(chain, 5) == Some(NF_DROP)
    };
    let named =
        |chain: &Vec<u8>| Some((find_text(chain, 1)?.to_owned(), find_text(chain, 3)?.to_owned()));
    chains.iter().filter(drops).filter_map(named).collect()
}

/// A chain with what its rules accept, out of a dump of its table's rules.
pub(super) fn chain(
    family: ChainFamily,
    (table, name): (String, String),
    rules: &[Vec<u8>],
) -> ForwardChain {
    let accepts = accepts(rules, &name, JUMPS);
    ForwardChain { keeper: Keeper::Nft, family, table, name, accepts }
}

/// What the rules of a chain accept, and those of chains that it sends every packet to.
fn accepts(rules: &[Vec<u8>], chain: &str, jumps: usize) -> Vec<Accept> {
    let own = rules.iter().filter(|rule| find_text(rule, 2) == Some(chain));
    own.filter_map(|rule| read(find(rule, 4)?))
        .flat_map(|(asked, end)| match end {
            End::Accept => vec![asked],
            End::Chain(next) if asked == Accept::default() && jumps > 0 => {
                accepts(rules, &next, jumps - 1)
            }
            End::Chain(_) => Vec::new(),
        })
        .collect()
}

/// What becomes of a packet that a rule matches.
enum End {
    Accept,
    Chain(String),
}

/// What an expression has loaded for the next one to compare.
#[derive(Default)]
enum Loaded {
    #[default]
    Nothing,
    Meta(u32),
    /// Offset in the IP header, length, and mask.
    Address(u32, u32, Vec<u8>),
}

/// What a rule asks of a packet, and what it does with it. `None` if it asks what we do not
/// understand, or ends otherwise.
fn read(expressions: &[u8]) -> Option<(Accept, End)> {
    let mut asked = Accept::default();
    let mut loaded = Loaded::Nothing;
    for (_, expression) in decode(expressions) {
        let data = find(expression, 2).unwrap_or_default();
        match find_text(expression, 1)? {
            "counter" => {}
            "match" => extension(&mut asked, data)?,
            "meta" => loaded = Loaded::Meta(find_number(data, 2)?),
            "payload" if find_number(data, 2) == Some(1) => {
                let length = find_number(data, 4)?;
                let all = vec![0xff; length as usize];
                loaded = Loaded::Address(find_number(data, 3)?, length, all);
            }
            "bitwise" => match &mut loaded {
                Loaded::Address(_, _, mask) => *mask = find(find(data, 4)?, 1)?.to_vec(),
                _ => return None,
            },
            "cmp" if find_number(data, 2) == Some(0) => {
                compared(&mut asked, std::mem::take(&mut loaded), find(find(data, 3)?, 1)?)?;
            }
            "immediate" => {
                let verdict = find(find(data, 2)?, 2)?;
                let end = match find_number(verdict, 1)? {
                    NF_ACCEPT => End::Accept,
                    NFT_JUMP | NFT_GOTO => End::Chain(find_text(verdict, 2)?.to_owned()),
                    _ => return None,
                };
                return Some((asked, end));
            }
            _ => return None,
        }
    }
    None
}

/// `meta` keys: 6 and 7 names of devices, 15 the family, 21 and 22 groups of devices.
fn compared(asked: &mut Accept, loaded: Loaded, value: &[u8]) -> Option<()> {
    match loaded {
        Loaded::Meta(6) => asked.input = Some(pattern(value)?),
        Loaded::Meta(7) => asked.output = Some(pattern(value)?),
        Loaded::Meta(21) => asked.input_group = Some(group(value)?),
        Loaded::Meta(22) => asked.output_group = Some(group(value)?),
        // Comes before an address in a table of both families, and says no more than that.
        Loaded::Meta(15) => {}
        Loaded::Address(12, length, mask) => asked.source = Some(network(4, length, &mask, value)?),
        Loaded::Address(16, length, mask) => {
            asked.destination = Some(network(4, length, &mask, value)?);
        }
        Loaded::Address(8, length, mask) => asked.source = Some(network(16, length, &mask, value)?),
        Loaded::Address(24, length, mask) => {
            asked.destination = Some(network(16, length, &mask, value)?);
        }
        _ => return None,
    }
    Some(())
}

/// An extension of iptables: a comment asks nothing, `devgroup` is a `struct xt_devgroup_info`.
fn extension(asked: &mut Accept, data: &[u8]) -> Option<()> {
    match find_text(data, 1)? {
        "comment" => {}
        "devgroup" => {
            let words: Vec<u32> =
                find(data, 3)?.chunks_exact(4).filter_map(group).take(5).collect();
            let [flags, source, source_mask, destination, destination_mask] = words[..] else {
                return None;
            };
            match (flags, source_mask, destination_mask) {
                (1, u32::MAX, _) => asked.input_group = Some(source),
                (4, _, u32::MAX) => asked.output_group = Some(destination),
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

/// A name is compared with its NUL; without, it is only a beginning.
fn pattern(value: &[u8]) -> Option<NamePattern> {
    let end = value.iter().position(|byte| *byte == 0);
    let name = std::str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()?.to_owned();
    Some(if end.is_some() { NamePattern::Exactly(name) } else { NamePattern::Beginning(name) })
}

fn group(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// The network of which `length` bytes were compared; a prefix of whole bytes is compared as such.
fn network(size: usize, length: u32, mask: &[u8], value: &[u8]) -> Option<IpNetwork> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let mut bytes = value.to_vec();
    if length as usize > size || bytes.len() != length as usize {
        return None;
    }
    bytes.resize(size, 0);
    let address = <[u8; 4]>::try_from(&bytes[..])
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(&bytes[..]).map(IpAddr::from))
        .ok()?;
    IpNetwork::new(address, u8::try_from(ones).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::expression::{
        Header, Is, Member, Meta, Verdict, compare, lookup, mask, meta, payload, verdict,
    };
    use super::*;
    use crate::kernel::attribute::Attribute;

    fn rule(parts: &[Attribute]) -> Vec<u8> {
        let attributes = [Attribute::text(2, "FORWARD"), Attribute::Nest(4, parts.to_vec())];
        let mut bytes = Vec::new();
        attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
        bytes
    }

    fn accepted(parts: &[Attribute]) -> Vec<Accept> {
        let parts = [parts, &[verdict(Verdict::Accept)]].concat();
        accepts(&[rule(&parts)], "FORWARD", JUMPS)
    }

    #[test]
    fn reads_addresses_and_devices() {
        let source = |cidr: &str| Accept { source: cidr.parse().ok(), ..Accept::default() };
        for (parts, expected) in [
            (vec![], Accept::default()),
            (
                vec![payload(Header::Network, 12, 2), compare(Is::Equal, &[10, 244])],
                source("10.244.0.0/16"),
            ),
            (
                vec![
                    payload(Header::Network, 12, 4),
                    mask(&[255, 255, 240, 0]),
                    compare(Is::Equal, &[10, 244, 16, 0]),
                ],
                source("10.244.16.0/20"),
            ),
            (
                vec![payload(Header::Network, 8, 2), compare(Is::Equal, &[0xfd, 0])],
                source("fd00::/16"),
            ),
            (
                vec![meta(Meta::InputName), compare(Is::Equal, b"veth")],
                Accept { input: Some(NamePattern::Beginning("veth".into())), ..Accept::default() },
            ),
            (
                vec![meta(Meta::OutputName), compare(Is::Equal, b"flat.7\0")],
                Accept { output: Some(NamePattern::Exactly("flat.7".into())), ..Accept::default() },
            ),
            (
                vec![meta(Meta::InputGroup), compare(Is::Equal, &7_u32.to_ne_bytes())],
                Accept { input_group: Some(7), ..Accept::default() },
            ),
        ] {
            assert_eq!(accepted(&parts), [expected]);
        }
    }

    #[test]
    fn what_is_not_understood_accepts_nothing() {
        for parts in [
            vec![payload(Header::Network, 12, 2), compare(Is::Different, &[10, 244])],
            vec![payload(Header::Transport, 2, 2), compare(Is::Equal, &[0, 53])],
            vec![payload(Header::Network, 12, 4), lookup(Member::In, "some")],
            vec![meta(Meta::Transport), compare(Is::Equal, &[6])],
            vec![payload(Header::Network, 12, 8), compare(Is::Equal, &[0; 8])],
            vec![meta(Meta::InputGroup), compare(Is::Equal, &[1])],
        ] {
            assert_eq!(accepted(&parts), [], "{parts:?}");
        }
        assert_eq!(accepts(&[rule(&[verdict(Verdict::Drop)])], "FORWARD", JUMPS), []);
        assert_eq!(accepts(&[rule(&[verdict(Verdict::Accept)])], "OTHER", JUMPS), []);
    }
}
