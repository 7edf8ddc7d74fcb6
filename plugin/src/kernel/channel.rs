//! A netlink socket for families whose messages begin with four bytes of their own: nfnetlink
//! (`struct nfgenmsg`) and generic netlink (`struct genlmsghdr`). What the attributes mean is not
//! looked at here.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::Socket;
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};

use super::attribute::{Attribute, find_text};

const NETLINK_HEADER: usize = 16;
/// The four bytes that the family's messages begin with.
const FAMILY_HEADER: usize = 4;
/// The kernel fills at most 32 KiB of a dump into one datagram.
const RECEIVE: usize = 1 << 16;

/// The socket.
pub(super) struct Channel {
    socket: Socket,
    sequence: u32,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The socket failed.
    Socket {
        /// What was tried: `open`, `send to`, ...
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused.
    Refused {
        /// The error number.
        source: io::Error,
        /// The kernel's own words (extended ACK) in parentheses, or nothing.
        words: String,
    },
    /// The answer was cut short, or is no netlink message.
    Unreadable,
}

/// One message of the kernel's.
pub(super) struct Answer {
    pub(super) kind: u16,
    flags: u16,
    pub(super) sequence: u32,
    /// What follows the netlink header.
    payload: Vec<u8>,
}

impl Channel {
    /// A socket in the calling thread's network namespace, where it stays.
    pub(super) fn open(protocol: isize) -> Result<Self, Failure> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            // Errors with the kernel's words, without our message sent back.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(Channel { socket, sequence: 0 })
        };
        open().map_err(|source| Failure::Socket { action: "open", source })
    }

    /// Sends a question and collects the attributes of each answer.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        header: [u8; FAMILY_HEADER],
        attributes: &[Attribute],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let sequence = self.next();
        let mut bytes = Vec::new();
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        write(&mut bytes, kind, flags, sequence, header, attributes);
        self.send(&bytes)?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive()?.into_iter().filter(|a| a.sequence == sequence) {
                // The end of a dump carries an error number, too.
                if let NLMSG_ERROR | NLMSG_DONE = answer.kind {
                    return match answer.failure() {
                        None => Ok(found),
                        Some((source, words)) => Err(Failure::Refused { source, words }),
                    };
                }
                found.push(answer.payload.get(FAMILY_HEADER..).unwrap_or_default().to_vec());
            }
        }
    }

    /// The number of the next message.
    pub(super) fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// Sends one datagram, of any length: the default buffer holds some 100 KiB.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        const ROOM_BY_DEFAULT: usize = 100 << 10;
        let failed = |source| Failure::Socket { action: "send to", source };
        if bytes.len() > ROOM_BY_DEFAULT {
            setsockopt(&self.socket, SndBufForce, &(2 * bytes.len()))
                .map_err(|errno| failed(errno.into()))?;
        }
        self.socket.send(bytes, 0).map(drop).map_err(failed)
    }

    /// Waits for a datagram.
    pub(super) fn receive(&self) -> Result<Vec<Answer>, Failure> {
        let mut datagram = Vec::with_capacity(RECEIVE);
        while let Err(source) = self.socket.recv(&mut datagram, 0) {
            if source.kind() != io::ErrorKind::Interrupted {
                return Err(Failure::Socket { action: "receive from", source });
            }
        }
        answers(&datagram).ok_or(Failure::Unreadable)
    }
}

/// Appends a message: netlink header, the family's own, attributes.
pub(super) fn write(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    header: [u8; FAMILY_HEADER],
    attributes: &[Attribute],
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]); // the kernel's port
    out.extend_from_slice(&header);
    attributes.iter().for_each(|attribute| attribute.encode(out));
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// The messages in a datagram; none at all if one is cut short.
fn answers(datagram: &[u8]) -> Option<Vec<Answer>> {
    let mut rest = datagram;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        answers.push(Answer {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.payload().to_vec(),
        });
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    Some(answers)
}

impl Answer {
    /// The error number, and in parentheses the kernel's words; none for an ACK.
    pub(super) fn failure(&self) -> Option<(io::Error, String)> {
        const NLMSGERR_ATTR_MSG: u16 = 1;
        let code = self.payload.first_chunk().copied().map(i32::from_ne_bytes).unwrap_or(0);
        if code == 0 {
            return None;
        }
        // The error number, the header of our message, its content unless capped, then words.
        let request = self.payload.get(4..).unwrap_or_default();
        let length = request.first_chunk().copied().map(u32::from_ne_bytes).unwrap_or(0) as usize;
        let words = match self.kind {
            NLMSG_DONE => self.payload.get(4..),
            _ if self.flags & NLM_F_CAPPED != 0 => request.get(NETLINK_HEADER..),
            _ => request.get(length.next_multiple_of(4)..),
        };
        let words = words
            .filter(|_| self.flags & NLM_F_ACK_TLVS != 0)
            .and_then(|words| find_text(words, NLMSGERR_ATTR_MSG).map(|text| format!(" ({text})")));
        Some((io::Error::from_raw_os_error(-code), words.unwrap_or_default()))
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
