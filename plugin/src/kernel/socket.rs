//! A synchronous netlink socket, of whatever family. No runtime, no thread: attaching a pod is over
//! before one would have started.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkSerializable};
use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::KernelError;
use super::message::{CutShort, Message, Refusal, Said, append, messages};

/// One answer: a device with all its attributes takes a fifth of this.
const ANSWER: usize = 8 * 1024;
/// The kernel fills a reader's buffer up to 32 KiB when it dumps.
const DUMP: usize = 64 * 1024;

/// `struct nfgenmsg`, `struct genlmsghdr` and the flags that xfrm begins with alike.
const FAMILY_HEADER: usize = 4;

/// A netlink socket in the network namespace in which it was opened, wherever we go afterwards.
pub(super) struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
    received: Vec<u8>,
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
    Refused(Refusal),
    /// The answer is not one that we understand, and why.
    Unreadable(&'static str),
}

impl Socket {
    /// A socket in the calling thread's network namespace. The kernel's answers fit it; see
    /// [`Socket::expect_dump`].
    pub(super) fn open(protocol: isize) -> Result<Self, Failure> {
        let open = || {
            let socket = Self::connect(protocol)?;
            // The kernel's words with each error, and our own message not echoed with it.
            socket.inner.set_ext_ack(true)?;
            socket.inner.set_cap_ack(true)?;
            Ok(socket)
        };
        open().map_err(|source| Failure::Socket { action: "open", source })
    }

    /// A socket that hears what happens, and keeps up to `backlog` bytes of it.
    pub(super) fn listen(protocol: isize, groups: &[u32], backlog: usize) -> io::Result<Self> {
        let mut socket = Self::connect(protocol)?;
        socket.inner.set_non_blocking(true)?;
        socket.keep(backlog);
        for group in groups {
            socket.inner.add_membership(*group)?;
        }
        socket.expect_dump();
        Ok(socket)
    }

    fn connect(protocol: isize) -> io::Result<Self> {
        let inner = netlink_sys::Socket::new(protocol)?;
        // This binds it too.
        inner.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { inner, sequence: 0, received: Vec::with_capacity(ANSWER) })
    }

    /// What poll(2) waits for.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// Its port: what the kernel tells everybody of a change has that of the socket by which it was made.
    pub(super) fn port(&self) -> Option<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.inner.get_address(&mut address).ok()?;
        Some(address.port_number())
    }

    /// Makes room for the largest datagrams; says whether there was none yet.
    pub(super) fn expect_dump(&mut self) -> bool {
        let small = self.received.capacity() < DUMP;
        if small {
            // What is received fills it; zeros would cost as much as a small namespace's tables.
            self.received = Vec::with_capacity(DUMP);
        }
        small
    }

    /// How many bytes may wait to be read; without the privilege the default will do.
    pub(super) fn keep(&self, backlog: usize) {
        let _ = setsockopt(&self.inner.as_fd(), sockopt::RcvBufForce, &backlog);
    }

    /// Has the kernel filter what it dumps, instead of us. Of rtnetlink only.
    pub(super) fn filter_strictly(&self) -> Result<(), Failure> {
        let failed = |source| Failure::Socket { action: "set NETLINK_GET_STRICT_CHK of", source };
        self.inner.set_netlink_get_strict_chk(true).map_err(failed)
    }

    /// The number of the last message.
    pub(super) fn last(&self) -> u32 {
        self.sequence
    }

    /// Appends a request to a datagram, and returns its number.
    pub(super) fn append(
        &mut self,
        datagram: &mut Vec<u8>,
        message: &impl NetlinkSerializable,
        flags: u16,
    ) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        append(datagram, message, NLM_F_REQUEST | flags, self.sequence);
        self.sequence
    }

    /// Sends one datagram, of any length: the default buffer holds some 100 KiB.
    pub(super) fn send(&self, datagram: &[u8]) -> Result<(), Failure> {
        const ROOM_BY_DEFAULT: usize = 100 << 10;
        let failed = |source| Failure::Socket { action: "send to", source };
        if datagram.len() > ROOM_BY_DEFAULT {
            setsockopt(&self.inner, sockopt::SndBufForce, &(2 * datagram.len()))
                .map_err(|errno| failed(errno.into()))?;
        }
        uninterrupted(|| self.inner.send(datagram, 0)).map(drop).map_err(failed)
    }

    /// Receives datagrams until `on` has found its last message in one.
    pub(super) fn receive(
        &mut self,
        mut on: impl FnMut(Message<'_>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut finished = false;
        while !finished {
            self.received.clear();
            uninterrupted(|| self.inner.recv(&mut self.received, 0))
                .map_err(|source| Failure::Socket { action: "receive from", source })?;
            for message in messages(&self.received) {
                let message = message.map_err(|CutShort| Failure::Unreadable("it is cut short"))?;
                finished |= on(message)?;
            }
        }
        Ok(())
    }

    /// Sends one request and collects the answers, without the family's own header.
    pub(super) fn ask(
        &mut self,
        message: &impl NetlinkSerializable,
        flags: u16,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        self.expect_dump();
        let mut datagram = Vec::new();
        let sequence = self.append(&mut datagram, message, NLM_F_ACK | flags);
        self.send(&datagram)?;
        let mut found = Vec::new();
        self.receive(|message| match message.said() {
            _ if message.sequence != sequence => Ok(false),
            Said::Acknowledged | Said::Done => Ok(true),
            Said::Refused(refusal) => Err(Failure::Refused(refusal)),
            Said::Overrun => Err(Failure::OVERRUN),
            Said::Row(row) => {
                found.push(row.get(FAMILY_HEADER..).unwrap_or_default().to_vec());
                Ok(false)
            }
        })?;
        Ok(found)
    }

    /// Sends one request that is answered by one message, and returns that without the family's own header.
    pub(super) fn ask_one(
        &mut self,
        message: &impl NetlinkSerializable,
    ) -> Result<Vec<u8>, Failure> {
        let mut datagram = Vec::new();
        let sequence = self.append(&mut datagram, message, 0);
        self.send(&datagram)?;
        let mut found = Vec::new();
        self.receive(|message| match message.said() {
            _ if message.sequence != sequence => Ok(false),
            Said::Row(row) => {
                found = row.get(FAMILY_HEADER..).unwrap_or_default().to_vec();
                Ok(true)
            }
            Said::Acknowledged | Said::Done => Ok(true),
            Said::Refused(refusal) => Err(Failure::Refused(refusal)),
            Said::Overrun => Err(Failure::OVERRUN),
        })?;
        Ok(found)
    }

    /// Takes what waits to be read; does not wait itself. Tells whether some was lost.
    pub(super) fn hear(&mut self, on: &mut dyn FnMut(Message<'_>)) -> io::Result<bool> {
        let mut lost = false;
        loop {
            self.received.clear();
            match uninterrupted(|| self.inner.recv(&mut self.received, 0)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(lost),
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => lost = true,
                Err(e) => return Err(e),
            }
            for message in messages(&self.received) {
                match message {
                    Ok(message) => on(message),
                    // It may have been anything.
                    Err(CutShort) => lost = true,
                }
            }
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Failure {
    /// `NLMSG_OVERRUN`
    pub(super) const OVERRUN: Self = Self::Unreadable("it did not fit the receive buffer");

    /// As an error of this request.
    pub(super) fn of(self, request: &str) -> KernelError {
        match self {
            Self::Socket { action, source } => KernelError::Socket { action, source },
            Self::Refused(refusal) => refusal.of(request),
            Self::Unreadable(reason) => {
                KernelError::Answer { request: request.into(), reason: reason.into() }
            }
        }
    }
}

impl Refusal {
    /// As an error of this request.
    pub(super) fn of(self, request: &str) -> KernelError {
        KernelError::Refused { request: request.into(), errno: self.errno, extended: self.words }
    }
}
