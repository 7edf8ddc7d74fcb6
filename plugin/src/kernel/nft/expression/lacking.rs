//! What `netlink-packet-netfilter` has no types for: the expressions `fib`, `ct`, `notrack` and `masq`,
//! and the verdicts that end a packet's way. Numbers are those of `linux/netfilter/nf_tables.h`.

use super::{Expression, REGISTER, Verdict, constant};
use crate::kernel::attribute::number;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions, Register};

/// Thrown away. `NF_DROP`
pub(crate) const DROP: Verdict = Verdict::Other(0);
/// Done with this chain; others are still asked. `NF_ACCEPT`
pub(crate) const ACCEPT: Verdict = Verdict::Other(1);

fn expression(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expressions::Other { expression_type: name.into(), attributes }.into()
}

/// What is loaded is kept here, by an attribute of this number.
fn register(kind: u16) -> DefaultNla {
    number(kind, REGISTER.into())
}

/// Loads whether the way back to the packet's source leads through the device that it came by:
/// one byte in a word. `fib saddr . iif oif exists`
pub(crate) fn reverse_path() -> Expression {
    const NFT_FIB_RESULT_OIF: u32 = 1;
    // NFTA_FIB_F_SADDR, NFTA_FIB_F_IIF, NFTA_FIB_F_PRESENT
    fib(1 | (1 << 3) | (1 << 5), NFT_FIB_RESULT_OIF)
}

/// Loads what the packet's destination is to this node: four bytes in host order.
/// `fib daddr type`
pub(crate) fn destination_type() -> Expression {
    fib(1 << 1, NFT_FIB_RESULT_ADDRTYPE) // NFTA_FIB_F_DADDR
}

/// The same for its source. `fib saddr type`
pub(crate) fn source_type() -> Expression {
    fib(1, NFT_FIB_RESULT_ADDRTYPE) // NFTA_FIB_F_SADDR
}

const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;

fn fib(flags: u32, result: u32) -> Expression {
    expression("fib", vec![number(3, flags), number(2, result), register(1)])
}

/// What `tracked` loads (`enum nft_ct_keys`).
#[derive(Clone, Copy)]
pub(crate) enum Tracked {
    /// One bit, four bytes in host order. `ct state`
    State,
    /// `IPS_*` bits, four bytes in host order. `ct status`
    Status,
    /// Two bytes. `ct original proto-dst`
    DestinationPort(Direction),
}

/// A direction of a connection (`enum ip_conntrack_dir`).
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// That of its first packet.
    Original = 0,
}

/// Loads what conntrack knows of the packet's connection; the rule ends for what is not tracked. Needs
/// conntrack, and so switches it on.
pub(crate) fn tracked(key: Tracked) -> Expression {
    const NFT_CT_STATE: u32 = 0;
    const NFT_CT_STATUS: u32 = 2;
    const NFT_CT_PROTO_DST: u32 = 12;
    let data = match key {
        Tracked::State => vec![register(1), number(2, NFT_CT_STATE)],
        Tracked::Status => vec![register(1), number(2, NFT_CT_STATUS)],
        Tracked::DestinationPort(direction) => {
            let direction = DefaultNla::new(3, vec![direction as u8]);
            vec![register(1), number(2, NFT_CT_PROTO_DST), direction]
        }
    };
    expression("ct", data)
}

/// Keeps the packet out of conntrack; only before conntrack sees it (priority raw). It has no data, not
/// even none of it.
pub(crate) fn notrack() -> Expression {
    Expression::Element(vec![ExpressionAttribute::Name("notrack".into())])
}

const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 1 << 4;

/// Gives the packet's connection the address of the device it leaves by, and a random port: two
/// connections made at the same instant otherwise race for one port, and one loses its packet.
pub(crate) fn masquerade() -> Expression {
    expression("masq", vec![number(1, NF_NAT_RANGE_PROTO_RANDOM_FULLY)])
}

/// The same with one of these ports, the last one included. `masquerade to :FIRST-LAST fully-random`
pub(crate) fn masquerade_to((first, last): (u16, u16)) -> [Expression; 3] {
    const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
    let (low, high) = (REGISTER, Register::Reg2);
    let masq = vec![
        number(1, NF_NAT_RANGE_PROTO_RANDOM_FULLY | NF_NAT_RANGE_PROTO_SPECIFIED),
        number(2, low.into()),
        number(3, high.into()),
    ];
    let [first, last] = [first, last].map(u16::to_be_bytes);
    [constant(low, &first), constant(high, &last), expression("masq", masq)]
}
