//! Hearing what happens in a network namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::event::{Event, FilterEvent, event, filter_event};

/// Of `enum rtnetlink_groups`: links, neighbours, addresses, routes, rules, and settings such as
/// forwarding, of both families.
const RTNETLINK_GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES`
const NFTABLES_GROUP: u32 = 7;
/// What may wait to be read, in bytes: some ten thousand events. Of more, a look at everything is as fast.
const BACKLOG: usize = 8 << 20;
/// The kernel fills a datagram of events up to a page, one of a transaction of nf_tables further.
const DATAGRAM: usize = 1 << 16;

/// Two sockets of the calling thread's network namespace, where they stay.
pub struct Monitor {
    routes: Socket,
    rules: Socket,
    own: u32,
    received: Vec<u8>,
}

/// What has been heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// In order.
    pub events: Vec<Event>,
    /// Whether there was more than could wait: anything may have happened.
    pub lost: bool,
}

impl Monitor {
    /// Begins to listen.
    ///
    /// # Errors
    /// What the system said.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            routes: listen(NETLINK_ROUTE, &RTNETLINK_GROUPS)?,
            rules: listen(NETLINK_NETFILTER, &[NFTABLES_GROUP])?,
            own: std::process::id(),
            received: Vec::with_capacity(DATAGRAM),
        })
    }

    /// What poll(2) waits for.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.routes.as_fd(), self.rules.as_fd()]
    }

    /// Takes what waits to be read; does not wait itself. What this process did to the packet filter is
    /// not among it.
    ///
    /// # Errors
    /// What the system said.
    pub fn hear(&mut self, heard: &mut Heard) -> io::Result<()> {
        let Heard { events, lost } = heard;
        *lost |= drain(&self.routes, &mut self.received, &mut |kind, payload| {
            events.extend(event(kind, payload));
        })?;
        let mut touched = false;
        let own = self.own;
        *lost |= drain(&self.rules, &mut self.received, &mut |kind, payload| match filter_event(
            kind, payload,
        ) {
            Some(FilterEvent::Ours) => touched = true,
            Some(FilterEvent::Done(by)) => {
                let by_another = std::mem::take(&mut touched) && by != Some(own);
                events.extend(by_another.then_some(Event::Filter));
            }
            None => {}
        })?;
        // Its end was lost, or comes from a kernel that sends none.
        events.extend(touched.then_some(Event::Filter));
        Ok(())
    }
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    // Without the privilege the default will do: what is lost shows.
    let _ = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &BACKLOG);
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Hands on what waits to be read, and tells whether some was lost.
fn drain(
    socket: &Socket,
    received: &mut Vec<u8>,
    on: &mut dyn FnMut(u16, &[u8]),
) -> io::Result<bool> {
    let mut lost = false;
    loop {
        received.clear();
        match socket.recv(received, 0) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(lost),
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => lost = true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        let mut rest = &received[..];
        while !rest.is_empty() {
            // What is cut short, or no message, may have been anything.
            let Ok(message) = NetlinkBuffer::new_checked(rest) else {
                lost = true;
                break;
            };
            on(message.message_type(), message.payload());
            let length = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
