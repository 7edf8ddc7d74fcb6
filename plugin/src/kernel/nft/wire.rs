//! nf_tables over a netlink socket: questions, dumps, and transactions that happen as a whole or
//! not at all. The messages' contents are not looked at here.

use super::error::NftError;
use super::objects::{Message, Request};
use crate::kernel::attribute::{Attribute, find_number};
use crate::kernel::forward::ChainFamily;
use crate::kernel::message::{self, Said};
use crate::kernel::socket::{Failure, Socket};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `struct nfgenmsg` at both ends of a transaction: no family, version 0, whose it is.
const BATCH: [u8; 4] = [0, 0, 0, NFNL_SUBSYS_NFTABLES];

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
}

impl Wire {
    /// A socket in the calling thread's network namespace, where it stays.
    pub(super) fn open() -> Result<Self, NftError> {
        let socket = Socket::open(NETLINK_NETFILTER).map_err(|e| explain(e, "the socket"))?;
        Ok(Wire { socket })
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

    fn ask(
        &mut self,
        object: &str,
        (request, family): (Request, u8),
        flags: u16,
        attributes: &[Attribute],
    ) -> Result<Vec<Vec<u8>>, NftError> {
        let request = message::Request::new(nf_tables(request), nfgenmsg(family), attributes);
        self.socket.ask(&request, flags).map_err(|failure| explain(failure, object))
    }

    /// Puts all messages into force at once, if the generation is still this one.
    pub(super) fn commit(
        &mut self,
        generation: Generation,
        messages: &[Message],
    ) -> Result<Outcome, NftError> {
        let mut datagram = Vec::new();
        let only_if = [Attribute::number(1, generation.0)]; // NFNL_BATCH_GENID
        let begin = message::Request::new(NFNL_MSG_BATCH_BEGIN, BATCH, &only_if);
        let begin = self.socket.append(&mut datagram, &begin, 0);
        let mut last = begin;
        for (index, message) in messages.iter().enumerate() {
            // Failures always answer; the last message's ACK tells that no more will come.
            let ack = if index + 1 == messages.len() { NLM_F_ACK } else { 0 };
            let (kind, family) = (nf_tables(message.request), nfgenmsg(NFPROTO_INET));
            let request = message::Request::new(kind, family, &message.attributes);
            last = self.socket.append(&mut datagram, &request, NLM_F_CREATE | NLM_F_APPEND | ack);
        }
        let end = message::Request::new(NFNL_MSG_BATCH_END, BATCH, &[]);
        self.socket.append(&mut datagram, &end, 0);
        // One datagram: a transaction can't be split.
        let sent = self.socket.send(&datagram);
        sent.and_then(|()| self.outcome(begin, last, messages))
            .unwrap_or_else(|failure| Err(explain(failure, "the transaction")))
    }

    /// Waits for the end of a transaction. Refused messages answer under their own number, in
    /// order; what concerns the transaction as a whole, under that of its beginning, and alone.
    fn outcome(
        &mut self,
        begin: u32,
        last: u32,
        messages: &[Message],
    ) -> Result<Result<Outcome, NftError>, Failure> {
        let mut outcome = Ok(Outcome::Done);
        self.socket.receive(|message| {
            let index = message.sequence.wrapping_sub(begin) as usize;
            if index > messages.len() {
                return Ok(false);
            }
            match message.said() {
                Said::Acknowledged => {}
                Said::Refused(refusal) if index == 0 && refusal.errno == Errno::ERESTART => {
                    outcome = Ok(Outcome::Outdated);
                }
                Said::Refused(refusal) if outcome.is_ok() => {
                    let message = index.checked_sub(1).and_then(|i| messages.get(i));
                    let action = message.map_or("commit the rules", |m| m.action.as_str()).into();
                    let (source, kernel) = (refusal.errno.into(), words(refusal.words));
                    outcome = Err(NftError::Change { action, source, kernel });
                }
                Said::Refused(_) => {}
                Said::Row(_) | Said::Done | Said::Overrun => return Ok(false),
            }
            Ok(index == 0 || message.sequence == last)
        })?;
        Ok(outcome)
    }
}

fn nf_tables(request: Request) -> u16 {
    (u16::from(NFNL_SUBSYS_NFTABLES) << 8) | request as u16
}

/// `struct nfgenmsg`: family, version 0, no resource.
fn nfgenmsg(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn explain(failure: Failure, object: &str) -> NftError {
    let object = object.to_owned();
    match failure {
        Failure::Socket { action, source } => NftError::Socket { action, source },
        Failure::Refused(refusal) => NftError::Read {
            object,
            source: refusal.errno.into(),
            kernel: words(refusal.words),
        },
        Failure::Unreadable(_) => NftError::Answer { object },
    }
}

/// The kernel's own words as they end a sentence.
fn words(words: Option<String>) -> String {
    words.map(|words| format!(" ({words})")).unwrap_or_default()
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
