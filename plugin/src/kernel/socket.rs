//! A synchronous rtnetlink socket: batches out, answers in.
//!
//! The kernel handles every message of a buffer before `send` returns, so a batch costs two system
//! calls however long it is. Only the last message of a batch asks for an acknowledgement; failures
//! are always answered. No runtime, no thread: attaching a pod is over before one would have started.

use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer, NetlinkMessage, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::KernelError;

/// Messages a batch, at most: were all refused, the answers would still fit the receive buffer.
const BATCH: usize = 128;
/// One answer: a device with all its attributes takes a fifth of this.
const ANSWER: usize = 8 * 1024;
/// The kernel fills a reader's buffer up to 32 KiB when it dumps.
const DUMP: usize = 64 * 1024;
/// What may wait to be read while a dump goes on, in bytes: `net.core.rmem_default` is a fifth.
const DUMP_BACKLOG: usize = 1 << 20;
/// How often a dump is begun again because the table changed under it.
const DUMP_ATTEMPTS: usize = 20;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words in an extended acknowledgement.
const EXTENDED_TEXT: u16 = 1;

/// A message and its `NLM_F_*` flags, besides `NLM_F_REQUEST`.
pub struct Request {
    pub message: RouteNetlinkMessage,
    pub flags: u16,
}

/// The kernel's answer to one request.
pub enum Answer<'a> {
    Message(Row<'a>),
    Refused { errno: Errno, extended: Option<String> },
}

/// A netlink socket in the network namespace in which it was opened, wherever we go afterwards.
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
    received: Vec<u8>,
}

/// One message of the kernel, as far as every socket must understand it.
enum Frame<'a> {
    Acknowledged(u32),
    Refused(u32, Refusal),
    Done,
    Row(u32, Row<'a>),
    Overrun,
}

type Refusal = (Errno, Option<String>);

/// A message that tells of something, not decoded yet.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// What follows the header `struct nlmsghdr`.
    pub payload: &'a [u8],
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, KernelError> {
        let failed = |action| move |source| KernelError::Socket { action, source };
        let inner = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)
            .map_err(failed("open a socket"))?;
        // This binds it too.
        inner.connect(&SocketAddr::new(0, 0)).map_err(failed("connect to the kernel"))?;
        // The kernel's words with each error, and our own message not echoed with it.
        inner.set_ext_ack(true).map_err(failed("set NETLINK_EXT_ACK"))?;
        inner.set_cap_ack(true).map_err(failed("set NETLINK_CAP_ACK"))?;
        Ok(Self { inner, sequence: 0, received: Vec::with_capacity(ANSWER) })
    }

    /// Makes the socket fit for dumps; most sockets never see one.
    fn prepare_to_dump(&mut self) -> Result<(), KernelError> {
        if self.received.capacity() >= DUMP {
            return Ok(());
        }
        let failed = |source| KernelError::Socket { action: "set NETLINK_GET_STRICT_CHK", source };
        // Dumps are filtered in the kernel, not by us.
        self.inner.set_netlink_get_strict_chk(true).map_err(failed)?;
        // Many entries while others write; without the privilege the default will do.
        let _ = setsockopt(&self.inner.as_fd(), sockopt::RcvBufForce, &DUMP_BACKLOG);
        // What is received fills it; zeros would cost as much as a small namespace's tables.
        self.received = Vec::with_capacity(DUMP);
        Ok(())
    }

    /// Sends requests in batches and hands each answer to `on`, with the index of its request.
    pub fn exchange(
        &mut self,
        requests: impl IntoIterator<Item = Request>,
        mut on: impl FnMut(usize, Answer<'_>),
    ) -> Result<(), KernelError> {
        let mut requests = requests.into_iter().peekable();
        let mut done = 0;
        let mut batch = Vec::new();
        while requests.peek().is_some() {
            batch.clear();
            let first = self.sequence.wrapping_add(1);
            let mut count: usize = 0;
            while count < BATCH {
                let Some(request) = requests.next() else { break };
                let last = count + 1 == BATCH || requests.peek().is_none();
                let acknowledge = if last { NLM_F_ACK } else { 0 };
                self.append(&mut batch, request, acknowledge);
                count += 1;
            }
            self.send(&batch)?;
            self.receive_batch(first, |index, answer| on(done + index, answer))?;
            done += count;
        }
        Ok(())
    }

    /// Receives until the last message sent is acknowledged or refused.
    fn receive_batch(
        &mut self,
        first: u32,
        mut on: impl FnMut(usize, Answer<'_>),
    ) -> Result<(), KernelError> {
        let last = self.sequence;
        let mut finished = false;
        while !finished {
            self.receive(|_, frame| match frame {
                Frame::Acknowledged(sequence) => {
                    finished |= sequence == last;
                    Ok(())
                }
                Frame::Refused(sequence, (errno, extended)) => {
                    finished |= sequence == last;
                    on(sequence.wrapping_sub(first) as usize, Answer::Refused { errno, extended });
                    Ok(())
                }
                Frame::Row(sequence, row) => {
                    on(sequence.wrapping_sub(first) as usize, Answer::Message(row));
                    Ok(())
                }
                Frame::Overrun => Err("it did not fit the receive buffer".into()),
                Frame::Done => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Asks for a table and keeps what `read` makes of its rows. Begun again when the table changed
    /// meanwhile.
    pub fn dump<T>(
        &mut self,
        name: &str,
        message: RouteNetlinkMessage,
        read: impl Fn(Row<'_>) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        self.prepare_to_dump()?;
        for _ in 0..DUMP_ATTEMPTS {
            let mut buffer = Vec::new();
            let request = Request { message: message.clone(), flags: NLM_F_DUMP };
            self.append(&mut buffer, request, 0);
            self.send(&buffer)?;
            log::debug!("{name}");
            if let Some(rows) = self.receive_dump(name, &read)? {
                return Ok(rows);
            }
        }
        Err(KernelError::Answer {
            request: name.into(),
            reason: format!("the table changed during each of {DUMP_ATTEMPTS} attempts"),
        })
    }

    /// The rows of a dump; `None` if the table changed while it was read (`NLM_F_DUMP_INTR`).
    fn receive_dump<T>(
        &mut self,
        name: &str,
        read: &impl Fn(Row<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, KernelError> {
        let mut rows = Vec::new();
        let mut refused = None;
        let (mut finished, mut interrupted) = (false, false);
        while !finished {
            self.receive(|flags, frame| {
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match frame {
                    Frame::Done => finished = true,
                    Frame::Row(_, row) => rows.extend(read(row)),
                    Frame::Refused(_, refusal) => {
                        finished = true;
                        refused = Some(refusal);
                    }
                    Frame::Overrun => return Err("it did not fit the receive buffer".into()),
                    Frame::Acknowledged(_) => {}
                }
                Ok(())
            })?;
        }
        match refused {
            Some((errno, extended)) => {
                Err(KernelError::Refused { request: name.into(), errno, extended })
            }
            None => Ok((!interrupted).then_some(rows)),
        }
    }

    fn append(&mut self, buffer: &mut Vec<u8>, request: Request, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.message);
        message.header.flags = NLM_F_REQUEST | request.flags | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = buffer.len();
        // Messages are aligned to four bytes (NLMSG_ALIGNTO); every one of ours has such a length.
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut buffer[start..]);
    }

    fn send(&self, buffer: &[u8]) -> Result<(), KernelError> {
        loop {
            match self.inner.send(buffer, 0) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(KernelError::Socket { action: "send", source }),
            }
        }
    }

    /// Receives one datagram and hands on each message in it that answers the current batch.
    fn receive(
        &mut self,
        mut on: impl FnMut(u16, Frame<'_>) -> Result<(), String>,
    ) -> Result<(), KernelError> {
        self.received.clear();
        loop {
            match self.inner.recv(&mut self.received, 0) {
                Ok(_) => break,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(KernelError::Socket { action: "receive", source }),
            }
        }
        let unreadable = |reason: String| KernelError::Answer { request: "netlink".into(), reason };
        let mut rest = &self.received[..];
        while !rest.is_empty() {
            let frame = NetlinkBuffer::new_checked(rest).map_err(|e| unreadable(e.to_string()))?;
            let end = frame.length() as usize;
            on(frame.flags(), decode(&frame)).map_err(unreadable)?;
            rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn decode<'a>(frame: &NetlinkBuffer<&'a [u8]>) -> Frame<'a> {
    let payload = frame.payload();
    let sequence = frame.sequence_number();
    match frame.message_type() {
        NLMSG_ERROR => match errno(payload) {
            None => Frame::Acknowledged(sequence),
            Some(errno) => Frame::Refused(sequence, (errno, extended_text(frame.flags(), payload))),
        },
        // A dump that fails half way says so in the NLMSG_DONE.
        NLMSG_DONE => match errno(payload) {
            None => Frame::Done,
            Some(errno) => Frame::Refused(sequence, (errno, None)),
        },
        NLMSG_OVERRUN => Frame::Overrun,
        _ => Frame::Row(sequence, Row { payload }),
    }
}

/// The error at the head of a payload, negative in `struct nlmsgerr`; `None` for success.
fn errno(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    (code < 0).then(|| Errno::from_raw(-code))
}

/// The text of an extended acknowledgement: after the error code and the header of our request
/// (`NETLINK_CAP_ACK` leaves the request's body out) come attributes.
fn extended_text(flags: u16, payload: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request_length = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?) as usize;
    let echoed = if flags & NLM_F_CAPPED != 0 { 16 } else { request_length.next_multiple_of(4) };
    NlasIterator::new(payload.get(4 + echoed..)?)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == EXTENDED_TEXT)
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(16 + payload.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&5u32.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn an_error_carries_the_kernels_words() {
        // -ENODEV, the header of a 64-byte request, one NLMSGERR_ATTR_MSG.
        let mut payload = (-19i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&64u32.to_ne_bytes());
        payload.extend_from_slice(&[0; 12]);
        payload.extend_from_slice(&[11, 0, 1, 0]);
        payload.extend_from_slice(b"no dev\0\0");
        let bytes = frame(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload);
        match decode(&NetlinkBuffer::new(&bytes[..])) {
            Frame::Refused(5, (errno, extended)) => {
                assert_eq!(errno, Errno::ENODEV);
                assert_eq!(extended.as_deref(), Some("no dev"));
            }
            _ => panic!("not a refusal"),
        }
    }

    #[test]
    fn zero_is_an_acknowledgement_and_an_unknown_kind_no_panic() {
        let mut payload = 0i32.to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; 16]);
        let bytes = frame(NLMSG_ERROR, NLM_F_CAPPED, &payload);
        assert!(matches!(decode(&NetlinkBuffer::new(&bytes[..])), Frame::Acknowledged(5)));
        let bytes = frame(4000, 0, &[1, 2, 3, 4]);
        match decode(&NetlinkBuffer::new(&bytes[..])) {
            Frame::Row(5, row) => assert_eq!(row.payload, [1, 2, 3, 4]),
            _ => panic!("not a row"),
        }
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_a_refusal() {
        let bytes = frame(NLMSG_DONE, 0, &(-4i32).to_ne_bytes());
        let frame = decode(&NetlinkBuffer::new(&bytes[..]));
        assert!(matches!(frame, Frame::Refused(5, (Errno::EINTR, None))));
    }
}
