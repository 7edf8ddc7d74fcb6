use nix::errno::Errno;

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
