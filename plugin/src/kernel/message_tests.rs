use super::*;
use crate::kernel::attribute::{encoded, text};

fn frame(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = (16 + payload.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&5_u32.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// `NLMSG_ERROR` of a request of 64 bytes, of which `echoed` are sent back, with the kernel's words.
fn refusal(code: i32, echoed: usize, words: Option<&str>) -> Vec<u8> {
    let mut payload = code.to_ne_bytes().to_vec();
    payload.extend_from_slice(&64_u32.to_ne_bytes());
    payload.resize(4 + echoed, 0);
    let mut flags = if echoed == HEADER { NLM_F_CAPPED } else { 0 };
    if let Some(words) = words {
        flags |= NLM_F_ACK_TLVS;
        payload.extend(encoded(&[text(1, words)]));
    }
    frame(NLMSG_ERROR, flags, &payload)
}

fn only(bytes: &[u8]) -> Message<'_> {
    messages(bytes).next().unwrap().unwrap()
}

#[test]
fn a_refusal_has_the_kernels_words() {
    let (enoent, ebusy) = (-(Errno::ENOENT as i32), -(Errno::EBUSY as i32));
    for (bytes, errno, words) in [
        (refusal(enoent, HEADER, None), Errno::ENOENT, None),
        (refusal(ebusy, HEADER, Some("in use")), Errno::EBUSY, Some("in use")),
        (refusal(ebusy, 64, Some("in use")), Errno::EBUSY, Some("in use")),
    ] {
        let Said::Refused(refusal) = only(&bytes).said() else { panic!("no refusal") };
        assert_eq!((refusal.errno, refusal.words.as_deref()), (errno, words));
        assert_eq!(only(&bytes).sequence, 5);
    }
}

#[test]
fn words_cut_short_are_none() {
    for end in 0..9 {
        let bytes = refusal(-1, HEADER, Some("in use"));
        let payload = &bytes[16..bytes.len() - 1 - end];
        let bytes = frame(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, payload);
        let Said::Refused(refusal) = only(&bytes).said() else { panic!("no refusal") };
        assert_eq!(refusal.errno, Errno::EPERM);
        assert_eq!(refusal.words.is_some(), end == 0, "the padding's last byte may be missing");
    }
}

#[test]
fn zero_is_an_acknowledgement_and_an_unknown_kind_a_row() {
    assert!(matches!(only(&refusal(0, HEADER, None)).said(), Said::Acknowledged));
    let bytes = frame(4000, 0, &[1, 2, 3, 4]);
    assert!(matches!(only(&bytes).said(), Said::Row([1, 2, 3, 4])));
    assert!(matches!(only(&frame(NLMSG_OVERRUN, 0, &[])).said(), Said::Overrun));
}

#[test]
fn a_dump_ends_well_or_with_a_refusal() {
    assert!(matches!(only(&frame(NLMSG_DONE, 0, &[0; 4])).said(), Said::Done));
    let mut payload = (-(Errno::EINTR as i32)).to_ne_bytes().to_vec();
    let bytes = frame(NLMSG_DONE, 0, &payload);
    let expected = Refusal { errno: Errno::EINTR, words: None };
    assert!(matches!(only(&bytes).said(), Said::Refused(refusal) if refusal == expected));
    payload.extend(encoded(&[text(1, "no such table")]));
    let bytes = frame(NLMSG_DONE, NLM_F_ACK_TLVS, &payload);
    let Said::Refused(refusal) = only(&bytes).said() else { panic!("no refusal") };
    assert_eq!(refusal.words.as_deref(), Some("no such table"));
}

#[test]
fn a_datagram_has_several_messages_and_may_be_cut_short() {
    let two = [refusal(0, HEADER, None), refusal(-1, HEADER, None)].concat();
    let refused = |bytes: &[u8]| -> Vec<Result<bool, CutShort>> {
        let said = |message: Message<'_>| matches!(message.said(), Said::Refused(_));
        messages(bytes).map(|message| message.map(said)).collect()
    };
    assert_eq!(refused(&two), [Ok(false), Ok(true)]);
    assert_eq!(refused(&two[..two.len() - 1]), [Ok(false), Err(CutShort)]);
    assert_eq!(refused(&[]), []);
}
