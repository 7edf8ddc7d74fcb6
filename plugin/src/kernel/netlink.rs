//! The real kernel: one rtnetlink socket in one network namespace.

mod alter;
mod beneath;
mod lab;
mod observe;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::netns::Netns;
use super::nft::Nftables;
use super::route_socket::{Request, RouteSocket};
use super::{Flow, KernelError, Link, Observe, decode, question, ways};

/// How long an IPv6 address may take to become local: the queue waits for the network lock, which a
/// burst of pods, or many namespaces that go at once, may hold for long. A runtime waits for minutes.
const LOCAL_AT_MOST: Duration = Duration::from_secs(30);

/// A network namespace as the kernel has it.
pub struct Netlink {
    pub(super) socket: RouteSocket,
    netns: Netns,
    /// Whether it is the one we are in.
    own: bool,
    /// Its packet filter, once that was asked for.
    filter: Option<Nftables>,
}

impl Netlink {
    /// The calling thread's own namespace.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { socket: RouteSocket::open()?, netns: Netns::own()?, own: true, filter: None })
    }

    /// Another namespace. The thread is back in its own when this returns.
    ///
    /// # Errors
    /// The namespace cannot be entered, or no socket can be had.
    pub fn open_in(netns: Netns) -> Result<Self, KernelError> {
        let socket = netns.run(RouteSocket::open)??;
        Ok(Self { socket, netns, own: false, filter: None })
    }

    /// The namespace that this speaks to.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs what looks at the namespace of its thread.
    fn inside<T>(&self, look: impl FnOnce() -> T) -> Result<T, KernelError> {
        if self.own { Ok(look()) } else { self.netns.run(look) }
    }

    /// One request that is answered by an acknowledgement or by one message, which `read` decodes.
    pub(super) fn ask<T>(
        &mut self,
        command: &str,
        request: Request,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, KernelError> {
        let mut result = Ok(None);
        self.socket.exchange([request], |_, answer| match answer {
            Ok(row) => result = Ok(read(row)),
            Err(refusal) => result = Err(refusal.of(command)),
        })?;
        log::debug!("{command}");
        result
    }

    /// Waits until an IPv6 address that was just added is ours to receive on.
    ///
    /// Even without duplicate address detection the kernel finishes the work in a queue of its own
    /// (`addrconf_dad_work`), and drops what arrives before it has made the local route.
    fn await_local(&mut self, address: IpAddr) -> Result<(), KernelError> {
        let deadline = Instant::now() + LOCAL_AT_MOST;
        // The queue takes some ten microseconds where no process holds the kernel's network lock.
        let mut pause = Duration::from_micros(20);
        while !self.is_ready(address)? {
            if Instant::now() > deadline {
                return Err(KernelError::Answer {
                    request: format!("ip route get {address}"),
                    reason: format!("the address is still not local after {LOCAL_AT_MOST:?}"),
                });
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(2));
        }
        Ok(())
    }

    fn is_ready(&mut self, address: IpAddr) -> Result<bool, KernelError> {
        let message = question::path(address, &Flow::default());
        let mut ready = false;
        self.socket.exchange([Request { message, flags: 0 }], |_, answer| {
            ready = answer.is_ok_and(ways::is_taken);
        })?;
        Ok(ready)
    }

    pub(super) fn firewall(&mut self) -> Result<&mut Nftables, KernelError> {
        let filter = match self.filter.take() {
            Some(filter) => filter,
            None => self.inside(Nftables::open)??,
        };
        Ok(self.filter.insert(filter))
    }

    /// The port by which this changes the packet filter, if it has asked for anything there.
    pub fn filter_port(&self) -> Option<u32> {
        self.filter.as_ref().and_then(Nftables::port)
    }

    /// The routes of both families that `get` asks for, as `decode` reads them.
    fn route_tables<T>(
        &mut self,
        get: impl Fn(AddressFamily) -> RouteNetlinkMessage,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let rows = self.socket.dump("ip route show", get(family), &decode);
            routes.extend(absent_is_empty(rows)?);
        }
        Ok(routes)
    }

    fn dump_links(
        &mut self,
        command: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<Link>, KernelError> {
        self.socket.dump(command, message, decode::link)
    }

    fn look_up<T>(
        &mut self,
        command: String,
        message: RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, KernelError> {
        match self.ask(&command, Request { message, flags: 0 }, read) {
            Ok(Some(link)) => Ok(Some(link)),
            Ok(None) => {
                Err(KernelError::Answer { request: command, reason: "no link in it".into() })
            }
            Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a device and tells what it is. The kernel does since Linux 6.2 (`NLM_F_ECHO`); an earlier one is
    /// asked. Choosing the index ourselves would leave numbers that are hard to read.
    fn create(&mut self, command: &str, name: &str, request: Request) -> Result<Link, KernelError> {
        let told = self.ask(command, request, decode::link)?;
        match told.map_or_else(|| self.link(name), |link| Ok(Some(link)))? {
            Some(link) => Ok(link),
            None => Err(KernelError::Answer {
                request: command.into(),
                reason: format!("{name} is gone again; something else removes our devices"),
            }),
        }
    }
}

/// The rows of a table; none if the kernel has no such one: it is without IPv6, or without rules.
fn absent_is_empty<T>(rows: Result<Vec<T>, KernelError>) -> Result<Vec<T>, KernelError> {
    match rows {
        Err(e) if matches!(e.errno(), Some(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP)) => {
            Ok(Vec::new())
        }
        rows => rows,
    }
}
