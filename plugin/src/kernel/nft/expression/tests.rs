//! Golden bytes: what `nft` 1.0.6 itself sends for these expressions (`strace -e sendmsg nft -f`).

use super::*;
use crate::kernel::attribute;

fn encoded(expression: &Expression) -> Vec<u8> {
    attribute::encoded(std::slice::from_ref(expression))
}

#[test]
fn meta_iifgroup() {
    assert_eq!(
        encoded(&meta(MetaKey::Iifgroup)),
        b"\x24\0\x01\x80\x09\0\x01\0meta\0\0\0\0\x14\0\x02\x80\
          \x08\0\x02\0\0\0\0\x15\x08\0\x01\0\0\0\0\x01"
    );
}

#[test]
fn meta_iifkind_and_fib_saddr_type() {
    assert_eq!(
        encoded(&meta(MetaKey::Iifkind)),
        b"\x24\0\x01\x80\x09\0\x01\0meta\0\0\0\0\x14\0\x02\x80\
          \x08\0\x02\0\0\0\0\x1a\x08\0\x01\0\0\0\0\x01"
    );
    assert_eq!(
        encoded(&source_type()),
        b"\x28\0\x01\x80\x08\0\x01\0fib\0\x1c\0\x02\x80\
          \x08\0\x03\0\0\0\0\x01\x08\0\x02\0\0\0\0\x03\x08\0\x01\0\0\0\0\x01"
    );
}

#[test]
fn ct_status_and_original_proto_dst() {
    assert_eq!(
        encoded(&tracked(Tracked::Status)),
        b"\x20\0\x01\x80\x07\0\x01\0ct\0\0\x14\0\x02\x80\
          \x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\x02"
    );
    assert_eq!(
        encoded(&tracked(Tracked::DestinationPort(Direction::Original))),
        b"\x28\0\x01\x80\x07\0\x01\0ct\0\0\x1c\0\x02\x80\
          \x08\0\x01\0\0\0\0\x01\x08\0\x02\0\0\0\0\x0c\x05\0\x03\0\0\0\0\0"
    );
}

#[test]
fn meta_priority_set() {
    let set = set_meta(MetaKey::Priority, &0x6700_1000_u32.to_ne_bytes());
    assert_eq!(
        set.iter().flat_map(encoded).collect::<Vec<u8>>(),
        b"\x2c\0\x01\x80\x0e\0\x01\0immediate\0\0\0\x18\0\x02\x80\x08\0\x01\0\0\0\0\x01\
          \x0c\0\x02\x80\x08\0\x01\0\0\x10\0\x67\
          \x24\0\x01\x80\x09\0\x01\0meta\0\0\0\0\x14\0\x02\x80\x08\0\x02\0\0\0\0\x02\
          \x08\0\x03\0\0\0\0\x01"
    );
}

#[test]
fn udp_dport_4789() {
    assert_eq!(
        encoded(&payload(Header::Transport, 2, 2)),
        b"\x34\0\x01\x80\x0c\0\x01\0payload\0\x24\0\x02\x80\x08\0\x01\0\0\0\0\x01\
          \x08\0\x02\0\0\0\0\x02\x08\0\x03\0\0\0\0\x02\x08\0\x04\0\0\0\0\x02"
    );
    assert_eq!(
        encoded(&compare(Operator::Equal, &4789_u16.to_be_bytes())),
        b"\x2c\0\x01\x80\x08\0\x01\0cmp\0\x20\0\x02\x80\x08\0\x01\0\0\0\0\x01\
          \x08\0\x02\0\0\0\0\0\x0c\0\x03\x80\x06\0\x01\0\x12\xb5\0\0"
    );
}

#[test]
fn ip_daddr_not_multicast() {
    assert_eq!(
        encoded(&mask(&[0xf0, 0, 0, 0])),
        b"\x44\0\x01\x80\x0c\0\x01\0bitwise\0\x34\0\x02\x80\x08\0\x01\0\0\0\0\x01\
          \x08\0\x02\0\0\0\0\x01\x08\0\x03\0\0\0\0\x04\
          \x0c\0\x04\x80\x08\0\x01\0\xf0\0\0\0\x0c\0\x05\x80\x08\0\x01\0\0\0\0\0"
    );
    assert_eq!(
        encoded(&compare(Operator::NotEqual, &[224, 0, 0, 0])),
        b"\x2c\0\x01\x80\x08\0\x01\0cmp\0\x20\0\x02\x80\x08\0\x01\0\0\0\0\x01\
          \x08\0\x02\0\0\0\0\x01\x0c\0\x03\x80\x08\0\x01\0\xe0\0\0\0"
    );
}

#[test]
fn fib_saddr_iif_oif() {
    assert_eq!(
        encoded(&reverse_path()),
        b"\x28\0\x01\x80\x08\0\x01\0fib\0\x1c\0\x02\x80\x08\0\x03\0\0\0\0\x29\
          \x08\0\x02\0\0\0\0\x01\x08\0\x01\0\0\0\0\x01"
    );
}

#[test]
fn statements() {
    assert_eq!(
        encoded(&verdict(DROP)),
        b"\x30\0\x01\x80\x0e\0\x01\0immediate\0\0\0\x1c\0\x02\x80\x08\0\x01\0\0\0\0\0\
          \x10\0\x02\x80\x0c\0\x02\x80\x08\0\x01\0\0\0\0\0"
    );
    assert_eq!(encoded(&notrack()), b"\x10\0\x01\x80\x0c\0\x01\0notrack\0");
    assert_eq!(
        encoded(&masquerade()),
        b"\x1c\0\x01\x80\x09\0\x01\0masq\0\0\0\0\x0c\0\x02\x80\x08\0\x01\0\0\0\0\x10"
    );
}

#[test]
fn masquerading_to_some_ports() {
    let [first, last, masq] = masquerade_to((1024, 49151)).map(|it| encoded(&it));
    for (load, register, port) in [(first, 1, [4, 0]), (last, 2, [0xbf, 0xff])] {
        let data = [&b"\x18\0\x02\x80\x08\0\x01\0\0\0\0"[..], &[register]];
        let value = [&b"\x0c\0\x02\x80\x06\0\x01\0"[..], &port, &[0, 0]];
        let head = b"\x2c\0\x01\x80\x0e\0\x01\0immediate\0\0\0";
        assert_eq!(load, [&head[..], &data.concat(), &value.concat()].concat());
    }
    assert_eq!(
        masq,
        b"\x2c\0\x01\x80\x09\0\x01\0masq\0\0\0\0\x1c\0\x02\x80\x08\0\x01\0\0\0\0\x12\
          \x08\0\x02\0\0\0\0\x01\x08\0\x03\0\0\0\0\x02"
    );
}

/// nft also sends the set's number in the transaction, which a name makes needless.
#[test]
fn lookups() {
    assert_eq!(
        encoded(&lookup(Member::In, "vteps-7")),
        b"\x28\0\x01\x80\x0b\0\x01\0lookup\0\0\x18\0\x02\x80\
          \x08\0\x02\0\0\0\0\x01\x0c\0\x01\0vteps-7\0"
    );
    assert_eq!(
        encoded(&lookup(Member::NotIn, "vteps-7")),
        b"\x30\0\x01\x80\x0b\0\x01\0lookup\0\0\x20\0\x02\x80\
          \x08\0\x02\0\0\0\0\x01\x0c\0\x01\0vteps-7\0\x08\0\x05\0\0\0\0\x01"
    );
}
