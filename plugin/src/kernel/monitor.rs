//! Hearing what happens in a network namespace.

use std::io;
use std::os::fd::BorrowedFd;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

use super::event::{Event, FilterEvent, event, filter_event};
use super::ipsec::NETLINK_XFRM;
use super::socket::Socket;

/// Of `enum rtnetlink_groups`: links, neighbours, addresses, routes, rules, and settings such as
/// forwarding, of both families.
const RTNETLINK_GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `XFRMNLGRP_POLICY`
const POLICY_GROUP: u32 = 4;
/// `NFNLGRP_NFTABLES`
const NFTABLES_GROUP: u32 = 7;
/// What may wait to be read, in bytes: some ten thousand events. Of more, a look at everything is as fast.
const BACKLOG: usize = 8 << 20;

/// Sockets of the calling thread's network namespace, where they stay.
pub struct Monitor {
    routes: Socket,
    rules: Socket,
    /// None if the kernel has no IPsec.
    policies: Option<Socket>,
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
            routes: Socket::listen(NETLINK_ROUTE, &RTNETLINK_GROUPS, BACKLOG)?,
            rules: Socket::listen(NETLINK_NETFILTER, &[NFTABLES_GROUP], BACKLOG)?,
            policies: Socket::listen(NETLINK_XFRM, &[POLICY_GROUP], BACKLOG).ok(),
        })
    }

    /// What poll(2) waits for.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = [&self.routes, &self.rules].into_iter().chain(&self.policies);
        sockets.map(Socket::descriptor).collect()
    }

    /// Takes what waits to be read; does not wait itself. What was done to the packet filter by a socket of the port
    /// `own` is not among it. By its process it would not be known: the kernel names the thread, by the number that it has
    /// outside of a container.
    ///
    /// # Errors
    /// What the system said.
    pub fn hear(&mut self, own: Option<u32>, heard: &mut Heard) -> io::Result<()> {
        let Heard { events, lost } = heard;
        *lost |= self.routes.hear(&mut |message| {
            events.extend(event(message.kind, message.payload));
        })?;
        if let Some(policies) = &mut self.policies {
            let mut changed = false;
            *lost |= policies.hear(&mut |_| changed = true)?;
            events.extend(changed.then_some(Event::Policies));
        }
        let mut touched = false;
        *lost |=
            self.rules.hear(&mut |message| match filter_event(message.kind, message.payload) {
                Some(FilterEvent::Ours) => touched = true,
                Some(FilterEvent::Done) => {
                    let by_another = std::mem::take(&mut touched) && Some(message.port) != own;
                    events.extend(by_another.then_some(Event::Filter));
                }
                None => {}
            })?;
        // Its end was lost, or comes from a kernel that sends none.
        events.extend(touched.then_some(Event::Filter));
        Ok(())
    }
}
