//! nf_tables over a netlink socket: questions, dumps, and transactions that happen as a whole or
//! not at all. The messages' contents are not looked at here.

use super::attribute::{Attribute, find_number, find_text};
use super::error::NftError;
use super::objects::{Message, Request};
use crate::kernel::forward::ChainFamily;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_APPEND, NLM_F_CAPPED, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};
use std::io;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NETLINK_HEADER: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const FAMILY_HEADER: usize = 4;
/// The kernel fills at most 32 KiB of a dump into one datagram.
const RECEIVE: usize = 1 << 16;

/// The ruleset's generation: another number after each change that anyone makes to nftables in
/// the network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u32);

/// How a transaction ended, if not in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is in force.
    Done,
    /// None of it is: nftables changed since the generation it was made for.
    Outdated,
}

/// The socket.
pub(super) struct Wire {
    socket: Socket,
    sequence: u32,
}

/// One message of the kernel's.
struct Answer {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the netlink header.
    payload: Vec<u8>,
}

impl Wire {
    /// A socket in the calling thread's network namespace, where it stays.
    pub(super) fn open() -> Result<Self, NftError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            // Errors with the kernel's words, without our message sent back.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(Wire { socket, sequence: 0 })
        };
        open().map_err(|source| NftError::Socket { action: "open", source })
    }

    /// The generation now.
    pub(super) fn generation(&mut self) -> Result<Generation, NftError> {
        let object = "the generation";
        let answers = self.ask(object, (Request::GetGeneration, NFPROTO_INET), 0, &[])?;
        let id = answers.first().and_then(|answer| find_number(answer, 1));
        id.map(Generation).ok_or_else(|| NftError::Answer { object: object.into() })
    }

    /// One object; none if it does not exist.
    pub(super) fn get(
        &mut self,
        object: &str,
        request: Request,
        attributes: &[Attribute],
    ) -> Result<Option<Vec<u8>>, NftError> {
        match self.ask(object, (request, NFPROTO_INET), 0, attributes) {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(NftError::Read { source, .. })
                if source.raw_os_error() == Some(Errno::ENOENT as i32) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind. NLM_F_DUMP_INTR is not looked at: it says that the generation changed
    /// on the way, and the caller compares generations over several dumps anyway.
    pub(super) fn dump(
        &mut self,
        object: &str,
        request: Request,
        attributes: &[Attribute],
    ) -> Result<Vec<Vec<u8>>, NftError> {
        self.ask(object, (request, NFPROTO_INET), NLM_F_DUMP, attributes)
    }

    /// All objects of a kind in tables of any family.
    pub(super) fn dump_of(
        &mut self,
        family: ChainFamily,
        object: &str,
        request: Request,
        attributes: &[Attribute],
    ) -> Result<Vec<Vec<u8>>, NftError> {
        let family = match family {
            ChainFamily::V4 => NFPROTO_IPV4,
            ChainFamily::V6 => NFPROTO_IPV6,
            ChainFamily::Both => NFPROTO_INET,
        };
        self.ask(object, (request, family), NLM_F_DUMP, attributes)
    }

    /// Sends a question and collects the attributes of each answer.
    fn ask(
        &mut self,
        object: &str,
        (request, family): (Request, u8),
        dump: u16,
        attributes: &[Attribute],
    ) -> Result<Vec<Vec<u8>>, NftError> {
        let sequence = self.next();
        let flags = NLM_F_REQUEST | NLM_F_ACK | dump;
        let mut bytes = Vec::new();
        write(&mut bytes, nf_tables(request), flags, sequence, (family, 0), attributes);
        self.send(&bytes)?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive(object)?.into_iter().filter(|a| a.sequence == sequence) {
                // The end of a dump carries an error number, too.
                if let NLMSG_ERROR | NLMSG_DONE = answer.kind {
                    return match answer.failure() {
                        None => Ok(found),
                        Some((source, kernel)) => {
                            Err(NftError::Read { object: object.into(), source, kernel })
                        }
                    };
                }
                found.push(answer.payload.get(FAMILY_HEADER..).unwrap_or_default().to_vec());
            }
        }
    }

    /// Puts all messages into force at once, if the generation is still this one.
    pub(super) fn commit(
        &mut self,
        generation: Generation,
        messages: &[Message],
    ) -> Result<Outcome, NftError> {
        let begin = self.next();
        let mut bytes = Vec::new();
        let batch = (NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
        let only_if = [Attribute::number(1, generation.0)]; // NFNL_BATCH_GENID
        write(&mut bytes, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, begin, batch, &only_if);
        for (index, message) in messages.iter().enumerate() {
            // Failures always answer; the last message's ACK tells that no more will come.
            let ack = if index + 1 == messages.len() { NLM_F_ACK } else { 0 };
            let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | ack;
            let sequence = self.next();
            let (kind, family) = (nf_tables(message.request), (NFPROTO_INET, 0));
            write(&mut bytes, kind, flags, sequence, family, &message.attributes);
        }
        let last = self.sequence;
        write(&mut bytes, NFNL_MSG_BATCH_END, NLM_F_REQUEST, self.next(), batch, &[]);
        self.send(&bytes)?;
        self.outcome(begin, last, messages)
    }

    /// Waits for the end of a transaction. Refused messages answer under their own number, in
    /// order; what concerns the transaction as a whole, under that of its beginning, and alone.
    fn outcome(
        &mut self,
        begin: u32,
        last: u32,
        messages: &[Message],
    ) -> Result<Outcome, NftError> {
        let mut refused = None;
        loop {
            for answer in self.receive("the transaction")? {
                let Some(index) = answer.sequence.checked_sub(begin) else { continue };
                if answer.kind != NLMSG_ERROR || answer.sequence > last {
                    continue;
                }
                let failure = answer.failure();
                if let (0, Some((source, _))) = (index, &failure) {
                    if source.raw_os_error() == Some(Errno::ERESTART as i32) {
                        return Ok(Outcome::Outdated);
                    }
                }
                if let (None, Some((source, kernel))) = (&refused, failure) {
                    let message = (index as usize).checked_sub(1).and_then(|i| messages.get(i));
                    let action = message.map_or("commit the rules", |m| m.action.as_str()).into();
                    refused = Some(NftError::Change { action, source, kernel });
                }
                if index == 0 || answer.sequence == last {
                    return refused.map_or(Ok(Outcome::Done), Err);
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// One datagram: a transaction can't be split, and the default buffer holds some 5,000
    /// elements.
    fn send(&self, bytes: &[u8]) -> Result<(), NftError> {
        const ROOM_BY_DEFAULT: usize = 100 << 10;
        let failed = |source| NftError::Socket { action: "send to", source };
        if bytes.len() > ROOM_BY_DEFAULT {
            setsockopt(&self.socket, SndBufForce, &(2 * bytes.len()))
                .map_err(|errno| failed(errno.into()))?;
        }
        self.socket.send(bytes, 0).map(drop).map_err(failed)
    }

    fn receive(&self, object: &str) -> Result<Vec<Answer>, NftError> {
        let mut datagram = Vec::with_capacity(RECEIVE);
        while let Err(source) = self.socket.recv(&mut datagram, 0) {
            if source.kind() != io::ErrorKind::Interrupted {
                return Err(NftError::Socket { action: "receive from", source });
            }
        }
        answers(&datagram).ok_or_else(|| NftError::Answer { object: object.into() })
    }
}

fn nf_tables(request: Request) -> u16 {
    (NFNL_SUBSYS_NFTABLES << 8) | request as u16
}

/// Appends a message: netlink header, family and resource, attributes.
fn write(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    attributes: &[Attribute],
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]); // the kernel's port
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
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
    fn failure(&self) -> Option<(io::Error, String)> {
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
#[path = "wire/tests.rs"]
mod tests;
