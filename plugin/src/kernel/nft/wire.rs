//! nf_tables over a netlink socket: questions, dumps, and transactions that happen as a whole or
//! not at all. The messages' contents are not looked at here.

use super::error::NftError;
use super::objects::{Message, Request};
use crate::kernel::attribute::{Attribute, find_number};
use crate::kernel::channel::{Channel, Failure, write};
use crate::kernel::forward::ChainFamily;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR,
};
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
    channel: Channel,
}

impl Wire {
    /// A socket in the calling thread's network namespace, where it stays.
    pub(super) fn open() -> Result<Self, NftError> {
        let channel = Channel::open(NETLINK_NETFILTER).map_err(|e| explain(e, "the socket"))?;
        Ok(Wire { channel })
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
        self.channel
            .ask(nf_tables(request), flags, nfgenmsg(family), attributes)
            .map_err(|failure| explain(failure, object))
    }

    /// Puts all messages into force at once, if the generation is still this one.
    pub(super) fn commit(
        &mut self,
        generation: Generation,
        messages: &[Message],
    ) -> Result<Outcome, NftError> {
        let begin = self.channel.next();
        let mut bytes = Vec::new();
        let only_if = [Attribute::number(1, generation.0)]; // NFNL_BATCH_GENID
        write(&mut bytes, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, begin, BATCH, &only_if);
        let mut last = begin;
        for (index, message) in messages.iter().enumerate() {
            // Failures always answer; the last message's ACK tells that no more will come.
            let ack = if index + 1 == messages.len() { NLM_F_ACK } else { 0 };
            let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | ack;
            last = self.channel.next();
            let (kind, family) = (nf_tables(message.request), nfgenmsg(NFPROTO_INET));
            write(&mut bytes, kind, flags, last, family, &message.attributes);
        }
        let end = self.channel.next();
        write(&mut bytes, NFNL_MSG_BATCH_END, NLM_F_REQUEST, end, BATCH, &[]);
        // One datagram: a transaction can't be split.
        self.channel.send(&bytes).map_err(|failure| explain(failure, "the transaction"))?;
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
            let answers = self.channel.receive();
            for answer in answers.map_err(|failure| explain(failure, "the transaction"))? {
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
        Failure::Refused { source, words } => NftError::Read { object, source, kernel: words },
        Failure::Unreadable => NftError::Answer { object },
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
