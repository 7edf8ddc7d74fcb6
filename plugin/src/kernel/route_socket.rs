//! Conversations by rtnetlink: batches out, answers in.
//!
//! The kernel handles every message of a buffer before `send` returns, so a batch costs two system
//! calls however long it is. Only the last message of a batch asks for an acknowledgement; failures
//! are always answered.

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::KernelError;
use super::message::{Refusal, Said};
use super::socket::{Failure, Socket};

/// Messages a batch, at most: were all refused, the answers would still fit the receive buffer.
const BATCH: usize = 128;
/// What may wait to be read while a dump goes on, in bytes: `net.core.rmem_default` is a fifth.
const DUMP_BACKLOG: usize = 1 << 20;
/// How often a dump is begun again because the table changed under it.
const DUMP_ATTEMPTS: usize = 20;

/// A message and its `NLM_F_*` flags, besides `NLM_F_REQUEST`.
pub struct Request {
    pub message: RouteNetlinkMessage,
    pub flags: u16,
}

/// The kernel's answer to one request: what follows the header of a message, or why there is none.
pub type Answer<'a> = Result<&'a [u8], Refusal>;

/// A socket for links, addresses, routes, rules and neighbours.
pub struct RouteSocket {
    socket: Socket,
}

impl RouteSocket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, KernelError> {
        let socket = Socket::open(NETLINK_ROUTE).map_err(unnamed)?;
        Ok(Self { socket })
    }

    /// Makes the socket fit for dumps; most sockets never see one.
    fn prepare_to_dump(&mut self) -> Result<(), Failure> {
        if self.socket.expect_dump() {
            self.socket.filter_strictly()?;
            // Many entries while others write.
            self.socket.keep(DUMP_BACKLOG);
        }
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
            let first = self.socket.last().wrapping_add(1);
            let mut count: usize = 0;
            while count < BATCH {
                let Some(Request { message, flags }) = requests.next() else { break };
                let last = count + 1 == BATCH || requests.peek().is_none();
                let acknowledge = if last { NLM_F_ACK } else { 0 };
                self.socket.append(&mut batch, &message, flags | acknowledge);
                count += 1;
            }
            self.socket.send(&batch).map_err(unnamed)?;
            self.receive_batch(first, |index, answer| on(done + index, answer)).map_err(unnamed)?;
            done += count;
        }
        Ok(())
    }

    /// Receives until the last message sent is acknowledged or refused.
    fn receive_batch(
        &mut self,
        first: u32,
        mut on: impl FnMut(usize, Answer<'_>),
    ) -> Result<(), Failure> {
        let last = self.socket.last();
        self.socket.receive(|message| {
            let answer = match message.said() {
                Said::Acknowledged => return Ok(message.sequence == last),
                Said::Done => return Ok(false),
                Said::Overrun => return Err(Failure::OVERRUN),
                Said::Refused(refusal) => Err(refusal),
                Said::Row(row) => Ok(row),
            };
            let finished = answer.is_err() && message.sequence == last;
            on(message.sequence.wrapping_sub(first) as usize, answer);
            Ok(finished)
        })
    }

    /// Asks for a table and keeps what `read` makes of its rows. Begun again when the table changed
    /// meanwhile.
    pub fn dump<T>(
        &mut self,
        name: &str,
        message: RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let named = |failure: Failure| failure.of(name);
        self.prepare_to_dump().map_err(named)?;
        for _ in 0..DUMP_ATTEMPTS {
            let mut buffer = Vec::new();
            self.socket.append(&mut buffer, &message, NLM_F_DUMP);
            self.socket.send(&buffer).map_err(named)?;
            log::debug!("{name}");
            if let Some(rows) = self.receive_dump(&read).map_err(named)? {
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
        read: &impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Failure> {
        let mut rows = Vec::new();
        let mut interrupted = false;
        self.socket.receive(|message| {
            interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.said() {
                Said::Row(row) => rows.extend(read(row)),
                Said::Acknowledged => {}
                Said::Done => return Ok(true),
                Said::Refused(refusal) => return Err(Failure::Refused(refusal)),
                Said::Overrun => return Err(Failure::OVERRUN),
            }
            Ok(false)
        })?;
        Ok((!interrupted).then_some(rows))
    }
}

/// A failure that concerns the socket or a whole batch.
fn unnamed(failure: Failure) -> KernelError {
    failure.of("netlink")
}
