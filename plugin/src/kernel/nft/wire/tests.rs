use super::super::objects::add_table;
use super::*;

/// `NLMSG_ERROR` as the kernel sends it to a socket with NETLINK_CAP_ACK and NETLINK_EXT_ACK.
fn refusal(code: i32, words: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let request = [20_u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
    let mut words_bytes = Vec::new();
    if let Some(words) = words {
        Attribute::text(1, words).encode(&mut words_bytes);
    }
    let flags = NLM_F_CAPPED | if words.is_some() { NLM_F_ACK_TLVS } else { 0 };
    let length = 16 + 4 + request.len() + words_bytes.len();
    out.extend((length as u32).to_ne_bytes());
    out.extend(NLMSG_ERROR.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(9_u32.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(code.to_ne_bytes());
    out.extend(request);
    out.extend(words_bytes);
    out
}

#[test]
fn reads_refusals_with_the_kernels_words() {
    for (code, words, expected) in [
        (0, None, None),
        (-(Errno::ENOENT as i32), None, Some((Errno::ENOENT, ""))),
        (-(Errno::EBUSY as i32), Some("in use"), Some((Errno::EBUSY, " (in use)"))),
    ] {
        let answer = answers(&refusal(code, words)).unwrap().remove(0);
        assert_eq!((answer.kind, answer.sequence), (NLMSG_ERROR, 9));
        let failure = answer.failure();
        let failure = failure.as_ref().map(|(e, words)| (e.raw_os_error(), words.as_str()));
        assert_eq!(failure, expected.map(|(errno, words)| (Some(errno as i32), words)));
    }
}

#[test]
fn reads_several_answers_and_none_that_is_cut_short() {
    let two = [refusal(0, None), refusal(-1, None)].concat();
    let codes: Vec<bool> =
        answers(&two).unwrap().iter().map(|answer| answer.failure().is_some()).collect();
    assert_eq!(codes, [false, true]);
    assert!(answers(&two[..two.len() - 1]).is_none());
    assert_eq!(answers(&[]).unwrap().len(), 0);
}

/// `nft add table inet flatnet`
#[test]
fn writes_messages_as_nft_does() {
    let table = add_table();
    let mut out = Vec::new();
    let kind = nf_tables(table.request);
    write(&mut out, kind, NLM_F_REQUEST, 1, (NFPROTO_INET, 0), &table.attributes);
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
    write(&mut out, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 3, (NFPROTO_UNSPEC, 10), &attributes);
    assert_eq!(out, b"\x1c\0\0\0\x10\0\x01\0\x03\0\0\0\0\0\0\0\0\0\0\x0a\x08\0\x01\0\0\0\0\x02");
}
