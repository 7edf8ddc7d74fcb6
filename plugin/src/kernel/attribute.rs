//! Netlink attributes as a tree. nf_tables messages nest attributes six levels deep, and whether
//! the kernel still holds what we sent is a comparison of such trees: `same` and `includes`.

use netlink_packet_core::{NLA_F_NESTED, NLA_HEADER_SIZE, NLA_TYPE_MASK};

/// One attribute: its type number, and bytes or further attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Attribute {
    /// A leaf.
    Value(u16, Vec<u8>),
    /// A container.
    Nest(u16, Vec<Attribute>),
}

impl Attribute {
    /// A name; nf_tables wants the NUL.
    pub(in crate::kernel) fn text(kind: u16, text: &str) -> Self {
        Attribute::Value(kind, [text.as_bytes(), &[0]].concat())
    }

    /// A number; nf_tables speaks network byte order, unlike rtnetlink.
    pub(in crate::kernel) fn number(kind: u16, number: u32) -> Self {
        Attribute::Value(kind, number.to_be_bytes().to_vec())
    }

    fn kind(&self) -> u16 {
        match self {
            Attribute::Value(kind, _) | Attribute::Nest(kind, _) => *kind,
        }
    }

    /// Appends the attribute with its header and padding.
    pub(in crate::kernel) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; NLA_HEADER_SIZE]);
        let kind = match self {
            Attribute::Value(kind, bytes) => {
                out.extend_from_slice(bytes);
                *kind
            }
            Attribute::Nest(kind, inner) => {
                inner.iter().for_each(|attribute| attribute.encode(out));
                *kind | NLA_F_NESTED
            }
        };
        // Lists of elements, the only long ones, are cut into messages far below 64 KiB.
        let length = (out.len() - start) as u16;
        out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        out[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// The attributes in `bytes`, type number and content; ends at the first that is cut short.
///
/// A node with ten thousand peers has a million of them: no more is done than is needed.
pub(in crate::kernel) fn decode(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let &[a, b, c, d] = rest.first_chunk::<NLA_HEADER_SIZE>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(NLA_HEADER_SIZE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
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

/// Whether the kernel's attributes `have` hold each of `wanted`. What else there is does not
/// matter: objects come with handles and reference counts of the kernel's.
pub(in crate::kernel) fn includes(have: &[u8], wanted: &[Attribute]) -> bool {
    wanted
        .iter()
        .all(|attribute| find(have, attribute.kind()).is_some_and(|bytes| equals(bytes, attribute)))
}

/// Whether the kernel's attributes `have` mean `wanted` and no more. The kernel's order is its own,
/// except that those of one type, as in a list, stay in order. It also spells out defaults that
/// nobody sent (`NFTA_LOOKUP_FLAGS`, `NFTA_BITWISE_OP`), more of them in each version: all zero.
fn same(have: &[u8], wanted: &[Attribute]) -> bool {
    let mut left: Vec<&Attribute> = wanted.iter().collect();
    decode(have).all(|(kind, bytes)| {
        match left.iter().position(|attribute| attribute.kind() == kind) {
            Some(position) => equals(bytes, left.remove(position)),
            None => bytes.iter().all(|byte| *byte == 0),
        }
    }) && left.is_empty()
}

fn equals(have: &[u8], wanted: &Attribute) -> bool {
    match wanted {
        Attribute::Value(_, bytes) => have == bytes,
        Attribute::Nest(_, inner) => same(have, inner),
    }
}

/// Attributes as the kernel sends them, each with its number: for the tests of what reads them.
#[cfg(test)]
pub(super) fn encoded(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes {
        Attribute::Value(*kind, value.to_vec()).encode(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(attributes: &[Attribute]) -> Vec<u8> {
        let mut out = Vec::new();
        attributes.iter().for_each(|attribute| attribute.encode(&mut out));
        out
    }

    fn list(values: &[u8]) -> Attribute {
        Attribute::Nest(9, values.iter().map(|v| Attribute::Value(1, vec![*v])).collect())
    }

    #[test]
    fn encodes_header_padding_and_nesting() {
        let nest = Attribute::Nest(4, vec![Attribute::text(1, "meta"), Attribute::number(2, 21)]);
        let bytes = encoded(&[nest]);
        assert_eq!(bytes[..4], [24, 0, 4, 0x80]);
        assert_eq!(bytes[4..16], *b"\x09\0\x01\0meta\0\0\0\0");
        assert_eq!(bytes[16..], [8, 0, 2, 0, 0, 0, 0, 21]);
    }

    #[test]
    fn finds_by_type() {
        let bytes = encoded(&[Attribute::text(1, "flatnet"), Attribute::number(2, 0x0102_0304)]);
        assert_eq!(find_text(&bytes, 1), Some("flatnet"));
        assert_eq!(find_number(&bytes, 2), Some(0x0102_0304));
        assert_eq!(find_number(&bytes, 1), None);
        assert_eq!(find(&bytes, 3), None);
        assert_eq!(find(&bytes[..bytes.len() - 1], 2), None);
    }

    #[test]
    fn compares_trees() {
        let wanted = [list(&[1, 2])];
        for (have, equal, why) in [
            (vec![list(&[1, 2])], true, "identical"),
            (vec![list(&[2, 1])], false, "another order in the list"),
            (vec![list(&[1])], false, "one less"),
            (vec![list(&[1, 2, 3])], false, "one more"),
            (vec![Attribute::number(7, 0), list(&[1, 2])], true, "a default spelt out"),
            (vec![Attribute::number(7, 1), list(&[1, 2])], false, "something more"),
            (vec![], false, "nothing"),
        ] {
            assert_eq!(same(&encoded(&have), &wanted), equal, "{why}");
        }
        let handle = [Attribute::number(7, 1), list(&[1, 2])];
        assert!(includes(&encoded(&handle), &wanted), "more at the top is the kernel's own");
        assert!(!includes(&encoded(&[list(&[1, 3])]), &wanted));
    }
}
