//! Netlink attributes as bytes: finding some among those that the kernel sent, whatever else is there, and
//! whether it still holds what we sent (`includes`). A node with ten thousand peers has a million of
//! them, so no more is read than is needed.

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLA_HEADER_SIZE, NLA_TYPE_MASK, Nla,
};

/// A name; nf_tables wants the NUL.
pub(in crate::kernel) fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

/// A number; nf_tables speaks network byte order, unlike rtnetlink.
pub(in crate::kernel) fn number(kind: u16, number: u32) -> DefaultNla {
    DefaultNla::new(kind, number.to_be_bytes().to_vec())
}

/// A container.
pub(in crate::kernel) fn nest(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, encoded(inner))
}

/// Attributes as they are sent.
pub(in crate::kernel) fn encoded(attributes: &[impl Nla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// The attributes in `bytes`, type number and content; ends at the first that is cut short.
pub(in crate::kernel) fn decode(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    flagged(bytes).map(|(kind, value)| (kind & NLA_TYPE_MASK, value))
}

/// The same, with the flag of containers in the number.
fn flagged(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let &[a, b, c, d] = rest.first_chunk::<NLA_HEADER_SIZE>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(NLA_HEADER_SIZE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]), value))
    })
}

/// The content of the first attribute of this type.
pub(in crate::kernel) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    decode(bytes).find(|(have, _)| *have == kind).map(|(_, value)| value)
}

/// The number in the first attribute of this type.
pub(in crate::kernel) fn find_number(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

/// The name in the first attribute of this type, without its NUL.
pub(in crate::kernel) fn find_text(bytes: &[u8], kind: u16) -> Option<&str> {
    let value = find(bytes, kind)?;
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// Whether the kernel's attributes `have` hold each of `wanted`, which we would send. What else there is
/// does not matter: objects come with handles and reference counts of the kernel's.
pub(in crate::kernel) fn includes(have: &[u8], wanted: &[u8]) -> bool {
    flagged(wanted).all(|(kind, wanted)| {
        find(have, kind & NLA_TYPE_MASK).is_some_and(|have| equals(have, kind, wanted))
    })
}

/// Whether the kernel's attributes `have` mean `wanted` and no more. The kernel's order is its own,
/// except that those of one type, as in a list, stay in order. It also spells out defaults that
/// were not sent (`NFTA_LOOKUP_FLAGS`, `NFTA_BITWISE_OP`), more of them in each version: all zero.
fn same(have: &[u8], wanted: &[u8]) -> bool {
    let mut left: Vec<(u16, &[u8])> = flagged(wanted).collect();
    decode(have).all(|(kind, bytes)| {
        match left.iter().position(|(wanted, _)| wanted & NLA_TYPE_MASK == kind) {
            Some(position) => {
                let (kind, wanted) = left.remove(position);
                equals(bytes, kind, wanted)
            }
            None => bytes.iter().all(|byte| *byte == 0),
        }
    }) && left.is_empty()
}

/// What we send says what is a container; what the kernel dumps need not.
fn equals(have: &[u8], kind: u16, wanted: &[u8]) -> bool {
    if kind & NLA_F_NESTED != 0 { same(have, wanted) } else { have == wanted }
}

/// Attributes as the kernel sends them, each with its number: for the tests of what reads them.
#[cfg(test)]
pub(super) fn numbered(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let attributes: Vec<DefaultNla> =
        attributes.iter().map(|(kind, value)| DefaultNla::new(*kind, value.to_vec())).collect();
    encoded(&attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &[u8]) -> DefaultNla {
        let values = values.iter().map(|value| DefaultNla::new(1, vec![*value]));
        nest(9, &values.collect::<Vec<_>>())
    }

    #[test]
    fn encodes_header_padding_and_nesting() {
        let bytes = encoded(&[nest(4, &[text(1, "meta"), number(2, 21)])]);
        assert_eq!(bytes[..4], [24, 0, 4, 0x80]);
        assert_eq!(bytes[4..16], *b"\x09\0\x01\0meta\0\0\0\0");
        assert_eq!(bytes[16..], [8, 0, 2, 0, 0, 0, 0, 21]);
    }

    #[test]
    fn finds_by_type() {
        let bytes = encoded(&[text(1, "flatnet"), number(2, 0x0102_0304)]);
        assert_eq!(find_text(&bytes, 1), Some("flatnet"));
        assert_eq!(find_number(&bytes, 2), Some(0x0102_0304));
        assert_eq!(find_number(&bytes, 1), None);
        assert_eq!(find(&bytes, 3), None);
        assert_eq!(find(&bytes[..bytes.len() - 1], 2), None);
    }

    #[test]
    fn compares_trees() {
        let wanted = encoded(&[list(&[1, 2])]);
        for (have, equal, why) in [
            (vec![list(&[1, 2])], true, "identical"),
            (vec![list(&[2, 1])], false, "another order in the list"),
            (vec![list(&[1])], false, "one less"),
            (vec![list(&[1, 2, 3])], false, "one more"),
            (vec![number(7, 0), list(&[1, 2])], true, "a default spelt out"),
            (vec![number(7, 1), list(&[1, 2])], false, "something more"),
            (vec![], false, "nothing"),
        ] {
            assert_eq!(same(&encoded(&have), &wanted), equal, "{why}");
        }
        let mut unflagged = wanted.clone();
        unflagged[3] = 0;
        assert!(same(&unflagged, &wanted), "the kernel does not flag its containers");
        let handle = encoded(&[number(7, 1), list(&[1, 2])]);
        assert!(includes(&handle, &wanted), "more at the top is the kernel's own");
        assert!(!includes(&encoded(&[list(&[1, 3])]), &wanted));
    }
}
