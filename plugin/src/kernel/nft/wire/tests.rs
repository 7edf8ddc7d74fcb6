use super::super::objects::add_table;
use super::*;
use crate::kernel::message::append;
use netlink_packet_core::NLM_F_REQUEST;

/// `nft add table inet flatnet`
#[test]
fn writes_messages_as_nft_does() {
    let mut out = Vec::new();
    append(&mut out, &request(INET, &add_table().content), NLM_F_REQUEST, 1);
    assert_eq!(
        out,
        b"\x28\0\0\0\x00\x0a\x01\0\x01\0\0\0\0\0\0\0\x01\0\0\0\
          \x0c\0\x01\0flatnet\0\x08\0\x02\0\0\0\0\0"
    );
}

/// Both ends of a transaction name the subsystem in network byte order.
#[test]
fn writes_the_beginning_of_a_transaction() {
    let mut out = Vec::new();
    append(&mut out, &begin(Generation(2)), NLM_F_REQUEST, 3);
    assert_eq!(out, b"\x1c\0\0\0\x10\0\x01\0\x03\0\0\0\0\0\0\0\0\0\0\x0a\x08\0\x01\0\0\0\0\x02");
    out.clear();
    append(&mut out, &end(), NLM_F_REQUEST, 3);
    assert_eq!(out, b"\x14\0\0\0\x11\0\x01\0\x03\0\0\0\0\0\0\0\0\0\0\x0a");
}
