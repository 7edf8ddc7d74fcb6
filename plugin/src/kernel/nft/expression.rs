//! The expressions our rules are made of, one function each. A rule is a row of them: loads put
//! something of the packet in register 1, a comparison or lookup ends the rule when it fails, the
//! last one acts. Show those of a rule with `nft --debug=netlink list table inet flatnet`.

mod lacking;

use netlink_packet_netfilter::nftables::{
    Bitwise, ChecksumFlags, ChecksumType, Cmp, DataAttribute, ExpressionAttribute, Expressions,
    Immediate, ListAttribute, Lookup, Meta, Payload, Register, VerdictAttribute,
};

pub(crate) use lacking::{
    ACCEPT, DROP, Direction, Tracked, destination_type, masquerade, masquerade_to, notrack,
    reverse_path, source_type, tracked,
};
pub(crate) use netlink_packet_netfilter::nftables::{MetaKey, Operator, Verdict};

/// One expression, as an element of a rule's list of them.
pub(crate) type Expression = ListAttribute<ExpressionAttribute>;

/// No rule of ours needs two at once, but for a range of ports.
const REGISTER: Register = Register::Reg1;

/// Where `payload` counts from (`enum nft_payload_bases`).
#[derive(Clone, Copy)]
pub(crate) enum Header {
    /// The IP header.
    Network = 1,
    /// The UDP header; in a fragment that is not the first the rule ends here.
    Transport = 2,
}

/// Whether to be in a set.
#[derive(Clone, Copy)]
pub(crate) enum Member {
    /// The rule goes on for members.
    In,
    /// The rule goes on for all others.
    NotIn,
}

fn value(bytes: &[u8]) -> DataAttribute {
    DataAttribute::Value(bytes.to_vec())
}

/// Loads a fact about the packet that is not in it. Names and kinds of devices have 16 bytes, groups,
/// priorities and users four in host order, `Nfproto` and `L4Proto` one. The rule ends where there is
/// no device, or no socket that has a user.
pub(crate) fn meta(key: MetaKey) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(REGISTER)]).into()
}

/// Loads what is the same for every packet.
fn constant(register: Register, bytes: &[u8]) -> Expression {
    let load = vec![Immediate::DestinationRegister(register), Immediate::Data(value(bytes))];
    Expressions::Immediate(load).into()
}

/// Changes a fact about the packet that is not in it. `meta KEY set VALUE`
pub(crate) fn set_meta(key: MetaKey, bytes: &[u8]) -> [Expression; 2] {
    let set = vec![Meta::Key(key), Meta::SourceRegister(REGISTER)];
    [constant(REGISTER, bytes), Expressions::Meta(set).into()]
}

/// Sets bits of a fact about the packet that is not in it. `meta KEY set meta KEY | BITS`
pub(crate) fn set_bits(key: MetaKey, bits: u32) -> [Expression; 3] {
    let with = change(&(!bits).to_ne_bytes(), &bits.to_ne_bytes());
    let set = vec![Meta::Key(key), Meta::SourceRegister(REGISTER)];
    [meta(key), with, Expressions::Meta(set).into()]
}

/// Loads bytes of the packet; beyond its end the rule ends.
pub(crate) fn payload(header: Header, offset: u32, length: u32) -> Expression {
    Expressions::Payload(vec![
        Payload::DestinationRegister(REGISTER),
        Payload::Base(header as u32),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
    .into()
}

/// Keeps the bits of `bits`, as many bytes as were loaded.
pub(crate) fn mask(bits: &[u8]) -> Expression {
    change(bits, &vec![0; bits.len()])
}

/// Keeps some bits of what is loaded, and then turns some round; both as long as that.
fn change(kept: &[u8], turned: &[u8]) -> Expression {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(REGISTER),
        Bitwise::DestinationRegister(REGISTER),
        Bitwise::Length(kept.len() as u32),
        Bitwise::Mask(value(kept)),
        Bitwise::Xor(value(turned)),
    ])
    .into()
}

/// Puts another word of the IP header in the place of the one at `at`: of that the bits `kept`, and others. The checksum, if
/// the header has one, stands at `checksum` and is mended.
pub(crate) fn set_word(at: u32, kept: u16, turned: u16, checksum: Option<u32>) -> [Expression; 3] {
    let place = [Payload::Base(Header::Network as u32), Payload::Offset(at), Payload::Len(2)];
    let kind = if checksum.is_some() { ChecksumType::Inet } else { ChecksumType::None };
    // In the order in which the kernel dumps them.
    let put = [Payload::SourceRegister(REGISTER)].into_iter().chain(place).chain([
        Payload::CsumType(kind),
        Payload::CsumOffset(checksum.unwrap_or_default()),
        Payload::CsumFlags(ChecksumFlags::empty()),
    ]);
    let changed = change(&kept.to_be_bytes(), &turned.to_be_bytes());
    [payload(Header::Network, at, 2), changed, Expressions::Payload(put.collect()).into()]
}

/// Goes on if what is loaded compares so with `bytes`.
pub(crate) fn compare(is: Operator, bytes: &[u8]) -> Expression {
    let with = Cmp::Data(value(bytes));
    Expressions::Cmp(vec![Cmp::SourceRegister(REGISTER), Cmp::Op(is), with]).into()
}

/// Goes on if what is loaded is, or is not, in the set of this name.
pub(crate) fn lookup(member: Member, set: &str) -> Expression {
    const NFT_LOOKUP_F_INV: u32 = 1;
    let mut data = vec![Lookup::SourceRegister(REGISTER), Lookup::Set(set.into())];
    if let Member::NotIn = member {
        data.push(Lookup::Flags(NFT_LOOKUP_F_INV));
    }
    Expressions::Lookup(data).into()
}

/// Leaves this chain for another one, for good. `goto CHAIN`
pub(crate) fn goto(chain: &str) -> Expression {
    immediate(vec![VerdictAttribute::Code(Verdict::Goto), VerdictAttribute::Chain(chain.into())])
}

/// Goes through another chain, and on behind this rule unless that has a verdict. `jump CHAIN`
pub(crate) fn jump(chain: &str) -> Expression {
    immediate(vec![VerdictAttribute::Code(Verdict::Jump), VerdictAttribute::Chain(chain.into())])
}

/// Ends the rule with a verdict.
pub(crate) fn verdict(verdict: Verdict) -> Expression {
    immediate(vec![VerdictAttribute::Code(verdict)])
}

fn immediate(verdict: Vec<VerdictAttribute>) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
    .into()
}

#[cfg(test)]
#[path = "expression/tests.rs"]
mod tests;
