use super::super::objects::add_table;
use super::*;
use crate::kernel::message::append;
use netlink_packet_core::NLM_F_REQUEST;

/// `nft add table inet flatnet`
#[test]
fn writes_messages_as_nft_does() {
    let table = add_table();
    let mut out = Vec::new();
    let kind = nf_tables(table.request);
    let request = message::Request::new(kind, [NFPROTO_INET, 0, 0, 0], &table.attributes);
    append(&mut out, &request, NLM_F_REQUEST, 1);
    assert_eq!(
        out,
        b"\x28\0\0\0\x00\x0a\x01\0\x01\0\0\0\0\0\0\0\x01\0\0\0\
          \x0c\0\x01\0flatnet\0\x08\0\x02\0\0\0\0\0"
    );
}

/// The beginning of a transaction names the subsystem in network byte order.
#[test]
fn writes_the_beginning_of_a_transaction() {
    let mut out = Vec::new();
    let attributes = [Attribute::number(1, 2)];
    let begin = message::Request::new(NFNL_MSG_BATCH_BEGIN, BATCH, &attributes);
    append(&mut out, &begin, NLM_F_REQUEST, 3);
    assert_eq!(out, b"\x1c\0\0\0\x10\0\x01\0\x03\0\0\0\0\0\0\0\0\0\0\x0a\x08\0\x01\0\0\0\0\x02");
}
