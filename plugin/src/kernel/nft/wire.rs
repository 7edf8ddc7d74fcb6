//! nf_tables over a netlink socket: questions, dumps, and transactions that happen as a whole or
//! not at all. The messages' contents are not looked at here.

use super::error::NftError;
use super::objects::Message;
use super::question;
use crate::kernel::attribute::{find_number, number};
use crate::kernel::foreign_chains::ChainFamily;
use crate::kernel::message::{Request, Said};
use crate::kernel::socket::{Failure, Socket};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterProtoFamily, NetfilterSubsystem};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const INET: NetfilterProtoFamily = NetfilterProtoFamily::Inet;

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

    /// The port of the socket.
    pub(super) fn port(&self) -> Option<u32> {
        self.socket.port()
    }

    /// The generation now.
    pub(super) fn generation(&mut self) -> Result<Generation, NftError> {
        let object = "the generation";
        let answer = self.socket.ask_one(&request(INET, &question::generation()));
        let id = find_number(&answer.map_err(|failure| explain(failure, object))?, 1);
        id.map(Generation).ok_or_else(|| NftError::Answer { object: object.into() })
    }

    /// One object; none if it does not exist.
    pub(super) fn get(
        &mut self,
        object: &str,
        question: &NfTablesMessage,
    ) -> Result<Option<Vec<u8>>, NftError> {
        let answer = self.socket.ask_one(&request(INET, question));
        match answer.map_err(|failure| explain(failure, object)) {
            Err(NftError::Read { source, .. })
                if source.raw_os_error() == Some(Errno::ENOENT as i32) =>
            {
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// All objects of a kind. NLM_F_DUMP_INTR is not looked at: it says that the generation changed
    /// on the way, and the caller compares generations over several dumps anyway.
    pub(super) fn dump(
        &mut self,
        object: &str,
        question: &NfTablesMessage,
    ) -> Result<Vec<Vec<u8>>, NftError> {
        self.ask(object, INET, NLM_F_DUMP, question)
    }

    /// All objects of a kind in tables of any family.
    pub(super) fn dump_of(
        &mut self,
        family: ChainFamily,
        object: &str,
        question: &NfTablesMessage,
    ) -> Result<Vec<Vec<u8>>, NftError> {
        let family = match family {
            ChainFamily::V4 => NetfilterProtoFamily::IPv4,
            ChainFamily::V6 => NetfilterProtoFamily::IPv6,
            ChainFamily::Both => INET,
        };
        self.ask(object, family, NLM_F_DUMP, question)
    }

    fn ask(
        &mut self,
        object: &str,
        family: NetfilterProtoFamily,
        flags: u16,
        question: &NfTablesMessage,
    ) -> Result<Vec<Vec<u8>>, NftError> {
        self.socket
            .ask(&request(family, question), flags)
            .map_err(|failure| explain(failure, object))
    }

    /// Puts all messages into force at once, if the generation is still this one.
    pub(super) fn commit(
        &mut self,
        generation: Generation,
        messages: &[Message],
    ) -> Result<Outcome, NftError> {
        let mut datagram = Vec::new();
        let begin = self.socket.append(&mut datagram, &begin(generation), 0);
        let mut last = begin;
        for (index, message) in messages.iter().enumerate() {
            // Failures always answer; the last message's ACK tells that no more will come.
            let ack = if index + 1 == messages.len() { NLM_F_ACK } else { 0 };
            let request = request(INET, &message.content);
            last = self.socket.append(&mut datagram, &request, NLM_F_CREATE | NLM_F_APPEND | ack);
        }
        self.socket.append(&mut datagram, &end(), 0);
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

/// A request about tables of a family.
fn request(family: NetfilterProtoFamily, content: &NfTablesMessage) -> Request {
    let kind = [content.message_type().into(), NetfilterSubsystem::NfTables.into()];
    Request::new(u16::from_le_bytes(kind), [family.into(), 0, 0, 0], content)
}

/// The beginning of a transaction that is for one generation only, which the library's has not.
fn begin(generation: Generation) -> Request {
    const NFNL_BATCH_GENID: u16 = 1;
    let only_if = [number(NFNL_BATCH_GENID, generation.0)];
    Request::new(NFNL_MSG_BATCH_BEGIN, batch(), &&only_if[..])
}

fn end() -> Request {
    Request::new(NFNL_MSG_BATCH_END, batch(), &ControlMessage::BatchEnd)
}

/// `struct nfgenmsg` at both ends of a transaction: no family, version 0, whose it is.
fn batch() -> [u8; 4] {
    [0, 0, 0, NetfilterSubsystem::NfTables.into()]
}

fn explain(failure: Failure, object: &str) -> NftError {
    let object = object.to_owned();
    match failure {
        Failure::Socket { action, source } => NftError::Socket { action, source },
        Failure::Refused(refusal) => {
            NftError::Read { object, source: refusal.errno.into(), kernel: words(refusal.words) }
        }
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
