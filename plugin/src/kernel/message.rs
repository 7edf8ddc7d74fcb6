//! Messages of netlink, of whatever family: how they stand in a datagram, and what the kernel says
//! with them. No socket here.

use netlink_packet_core::{
    Emitable, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer,
    NetlinkSerializable,
};
use nix::errno::Errno;

use super::attribute::find;

/// `struct nlmsghdr`
const HEADER: usize = 16;

/// One message of the kernel's.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Of the socket that it is an answer to, or by which a change was made that it tells of.
    pub(super) port: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
}

/// What a message says about the request of its number.
pub(super) enum Said<'a> {
    /// Something that was asked for.
    Row(&'a [u8]),
    /// It is carried out.
    Acknowledged,
    /// All rows of a dump were sent.
    Done,
    /// It failed, or a dump did half way.
    Refused(Refusal),
    /// What did not fit the receive buffer.
    Overrun,
}

/// Why the kernel did not do what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// Its own words, where it had any.
    pub(super) words: Option<String>,
}

/// A message is shorter than it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CutShort;

/// A request of a family whose messages begin with four bytes of their own: nfnetlink
/// (`struct nfgenmsg`) and generic netlink (`struct genlmsghdr`).
pub(super) struct Request {
    kind: u16,
    payload: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: u16, header: [u8; 4], attributes: &impl Emitable) -> Self {
        let mut payload = header.to_vec();
        payload.resize(header.len() + attributes.buffer_len(), 0);
        attributes.emit(&mut payload[header.len()..]);
        Self { kind, payload }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

/// Appends a message with its header and padding.
pub(super) fn append(
    out: &mut Vec<u8>,
    message: &impl NetlinkSerializable,
    flags: u16,
    sequence: u32,
) {
    let start = out.len();
    let length = HEADER + message.buffer_len();
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&message.message_type().to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]); // the kernel's port
    out.resize(start + length.next_multiple_of(4), 0);
    message.serialize(&mut out[start + HEADER..start + length]);
}

/// The messages in a datagram; the last is an error if it is cut short.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, CutShort>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Ok(message) = NetlinkBuffer::new_checked(rest) else {
            rest = &[];
            return Some(Err(CutShort));
        };
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        Some(Ok(Message {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            port: message.port_number(),
            payload: message.payload(),
        }))
    })
}

impl<'a> Message<'a> {
    /// What it says.
    pub(super) fn said(&self) -> Said<'a> {
        match (self.kind, self.errno()) {
            (NLMSG_ERROR, None) => Said::Acknowledged,
            (NLMSG_DONE, None) => Said::Done,
            (NLMSG_ERROR | NLMSG_DONE, Some(errno)) => {
                Said::Refused(Refusal { errno, words: self.words() })
            }
            (NLMSG_OVERRUN, _) => Said::Overrun,
            _ => Said::Row(self.payload),
        }
    }

    /// The error at the head of the payload, negative in `struct nlmsgerr`; none for success.
    fn errno(&self) -> Option<Errno> {
        let code = self.payload.first_chunk().copied().map(i32::from_ne_bytes)?;
        (code < 0).then(|| Errno::from_raw(code.wrapping_neg()))
    }

    /// The text of an extended acknowledgement. It is among the attributes that follow the error, and in
    /// `NLMSG_ERROR` also our message: of that only the header if it is capped.
    fn words(&self) -> Option<String> {
        const NLMSGERR_ATTR_MSG: u16 = 1;
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let behind = self.payload.get(4..)?;
        let echoed = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => u32::from_ne_bytes(*behind.first_chunk()?).next_multiple_of(4) as usize,
        };
        let words = find(behind.get(echoed..)?, NLMSGERR_ATTR_MSG)?;
        Some(String::from_utf8_lossy(words).trim_end_matches('\0').to_owned())
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
