//! The expressions our rules are made of, one function each. A rule is a row of them: loads put
//! something of the packet in register 1, a comparison or lookup ends the rule when it fails, the
//! last one acts. Show those of a rule with `nft --debug=netlink list table inet flatnet`; numbers
//! are those of `linux/netfilter/nf_tables.h`.

use crate::kernel::attribute::Attribute;

/// `NFT_REG_1`: no rule of ours needs two at once.
const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;

/// What `meta` loads (`enum nft_meta_keys`).
#[derive(Clone, Copy)]
pub(super) enum Meta {
    /// `skb->priority`, four bytes in host order.
    Priority = 2,
    /// Name of the device the packet came by, 16 bytes.
    InputName = 6,
    /// User ID of the socket that sends the packet, four bytes; the rule ends where there is none.
    SocketUser = 10,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, one byte.
    Family = 15,
    /// Transport protocol, one byte, behind any IPv6 extension headers.
    Transport = 16,
    /// `IFLA_GROUP` of the device the packet came by, four bytes in host order.
    InputGroup = 21,
    /// `IFLA_GROUP` of the device the packet leaves by.
    OutputGroup = 22,
    /// `IFLA_INFO_KIND` of the device the packet came by, 16 bytes.
    InputKind = 26,
}

/// Where `payload` counts from (`enum nft_payload_bases`).
#[derive(Clone, Copy)]
pub(super) enum Header {
    /// The IP header.
    Network = 1,
    /// The UDP header; in a fragment that is not the first the rule ends here.
    Transport = 2,
}

/// How to compare (`enum nft_cmp_ops`).
#[derive(Clone, Copy)]
pub(super) enum Is {
    /// The rule goes on if equal.
    Equal = 0,
    /// The rule goes on if different.
    Different = 1,
    /// The rule goes on if not less.
    AtLeast = 5,
}

/// Whether to be in a set (`NFT_LOOKUP_F_INV`).
#[derive(Clone, Copy)]
pub(super) enum Member {
    /// The rule goes on for members.
    In,
    /// The rule goes on for all others.
    NotIn,
}

/// What becomes of the packet: the codes of `linux/netfilter.h`.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// Thrown away.
    Drop = 0,
    /// Done with this chain; others are still asked.
    Accept = 1,
}

/// `NFTA_LIST_ELEM` with `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
fn expression(name: &str, data: Vec<Attribute>) -> Attribute {
    Attribute::Nest(1, vec![Attribute::text(1, name), Attribute::Nest(2, data)])
}

/// `NFTA_DATA_VALUE` in a container of the given type.
fn value(kind: u16, bytes: &[u8]) -> Attribute {
    Attribute::Nest(kind, vec![Attribute::Value(1, bytes.to_vec())])
}

/// Loads a fact about the packet that is not in it.
pub(super) fn meta(key: Meta) -> Attribute {
    let (key, dreg) = (Attribute::number(2, key as u32), Attribute::number(1, REGISTER));
    expression("meta", vec![key, dreg])
}

/// Changes a fact about the packet that is not in it. `meta KEY set VALUE`
pub(super) fn set_meta(key: Meta, bytes: &[u8]) -> [Attribute; 2] {
    let load = vec![Attribute::number(1, REGISTER), value(2, bytes)];
    let (key, sreg) = (Attribute::number(2, key as u32), Attribute::number(3, REGISTER));
    [expression("immediate", load), expression("meta", vec![key, sreg])]
}

/// Loads bytes of the packet; beyond its end the rule ends.
pub(super) fn payload(header: Header, offset: u32, length: u32) -> Attribute {
    expression(
        "payload",
        vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, header as u32),
            Attribute::number(3, offset),
            Attribute::number(4, length),
        ],
    )
}

/// Keeps the bits of `bits`, as many bytes as were loaded.
pub(super) fn mask(bits: &[u8]) -> Attribute {
    expression(
        "bitwise",
        vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, REGISTER),
            Attribute::number(3, bits.len() as u32),
            value(4, bits),
            value(5, &vec![0; bits.len()]),
        ],
    )
}

/// Goes on if what is loaded is, or is not, `bytes`.
pub(super) fn compare(is: Is, bytes: &[u8]) -> Attribute {
    expression(
        "cmp",
        vec![Attribute::number(1, REGISTER), Attribute::number(2, is as u32), value(3, bytes)],
    )
}

/// Goes on if what is loaded is, or is not, in the set of this name.
pub(super) fn lookup(member: Member, set: &str) -> Attribute {
    let mut data = vec![Attribute::number(2, REGISTER), Attribute::text(1, set)];
    if let Member::NotIn = member {
        data.push(Attribute::number(5, 1));
    }
    expression("lookup", data)
}

/// Loads whether the way back to the packet's source leads through the device that it came by:
/// one byte in a word. `fib saddr . iif oif exists`
pub(super) fn reverse_path() -> Attribute {
    // NFTA_FIB_F_SADDR, NFTA_FIB_F_IIF, NFTA_FIB_F_PRESENT
    let flags = 1 | (1 << 3) | (1 << 5);
    expression(
        "fib",
        // NFT_FIB_RESULT_OIF
        vec![Attribute::number(3, flags), Attribute::number(2, 1), Attribute::number(1, REGISTER)],
    )
}

/// Loads what the packet's destination is to this node: four bytes in host order.
/// `fib daddr type`
pub(super) fn destination_type() -> Attribute {
    address_type(1 << 1) // NFTA_FIB_F_DADDR
}

/// The same for its source. `fib saddr type`
pub(super) fn source_type() -> Attribute {
    address_type(1) // NFTA_FIB_F_SADDR
}

fn address_type(of: u32) -> Attribute {
    // NFT_FIB_RESULT_ADDRTYPE
    expression(
        "fib",
        vec![Attribute::number(3, of), Attribute::number(2, 3), Attribute::number(1, REGISTER)],
    )
}

/// Leaves this chain for another one, for good. `goto CHAIN`
pub(super) fn goto(chain: &str) -> Attribute {
    const NFT_GOTO: i32 = -4;
    lead_to(NFT_GOTO, chain)
}

/// Goes through another chain, and on behind this rule unless that has a verdict. `jump CHAIN`
pub(super) fn jump(chain: &str) -> Attribute {
    const NFT_JUMP: i32 = -3;
    lead_to(NFT_JUMP, chain)
}

fn lead_to(how: i32, chain: &str) -> Attribute {
    let code = Attribute::number(1, how as u32); // as two's complement
    immediate(vec![code, Attribute::text(2, chain)])
}

/// Ends the rule with a verdict.
pub(super) fn verdict(verdict: Verdict) -> Attribute {
    immediate(vec![Attribute::number(1, verdict as u32)])
}

/// `NFTA_DATA_VERDICT` in the verdict register.
fn immediate(verdict: Vec<Attribute>) -> Attribute {
    let data = Attribute::Nest(2, vec![Attribute::Nest(2, verdict)]);
    expression("immediate", vec![Attribute::number(1, VERDICT_REGISTER), data])
}

/// What `tracked` loads (`enum nft_ct_keys`).
#[derive(Clone, Copy)]
pub(super) enum Tracked {
    /// `IPS_*` bits, four bytes in host order. `ct status`
    Status,
    /// Two bytes. `ct original proto-dst`
    DestinationPort(Direction),
}

/// A direction of a connection (`enum ip_conntrack_dir`).
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// That of its first packet.
    Original = 0,
}

/// Loads what conntrack knows of the packet's connection; the rule ends for what is not tracked. Needs
/// conntrack, and so switches it on.
pub(super) fn tracked(key: Tracked) -> Attribute {
    const NFT_CT_STATUS: u32 = 2;
    const NFT_CT_PROTO_DST: u32 = 12;
    let load = |key| vec![Attribute::number(1, REGISTER), Attribute::number(2, key)];
    let data = match key {
        Tracked::Status => load(NFT_CT_STATUS),
        Tracked::DestinationPort(direction) => {
            let direction = Attribute::Value(3, vec![direction as u8]);
            [load(NFT_CT_PROTO_DST), vec![direction]].concat()
        }
    };
    expression("ct", data)
}

/// Keeps the packet out of conntrack; only before conntrack sees it (priority raw).
pub(super) fn notrack() -> Attribute {
    Attribute::Nest(1, vec![Attribute::text(1, "notrack")])
}

/// Gives the packet's connection the address of the device it leaves by, and a random port: two
/// connections made at the same instant otherwise race for one port, and one loses its packet.
pub(super) fn masquerade() -> Attribute {
    const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 1 << 4;
    expression("masq", vec![Attribute::number(1, NF_NAT_RANGE_PROTO_RANDOM_FULLY)])
}

#[cfg(test)]
#[path = "expression/tests.rs"]
mod tests;
