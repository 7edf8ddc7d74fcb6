//! What the kernel would do with a packet now: asked, and not guessed from its tables. `ip route get`

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use nix::errno::Errno;

use super::socket::Request;
use super::{KernelError, Netlink, encode};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is for this machine itself.
    Local,
    /// It is sent on.
    Send {
        /// Index of the device.
        dev: u32,
        /// The next hop; `None` if the destination is on the link.
        gateway: Option<IpAddr>,
    },
    /// It is dropped.
    Drop(Errno),
}

/// Whether the kernel refuses a question for a way with this errno because there is none: no route
/// takes the address, or one that leads nowhere (`fib_props` and `ip6_rt_type_to_error` in the kernel).
pub fn is_dead_end(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENETUNREACH // no route; IPv6: unreachable
            | Errno::EHOSTUNREACH // unreachable
            | Errno::EACCES // prohibit
            | Errno::EINVAL // blackhole
            | Errno::EAGAIN // throw
    )
}

impl Netlink {
    /// Asks for a packet to `to`: one that came in with this source by the device of this index, or
    /// one of the machine's own.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn decide(
        &mut self,
        to: IpAddr,
        received: Option<(IpAddr, u32)>,
    ) -> Result<Verdict, KernelError> {
        let mut command = format!("ip route get {to}");
        let mut message = encode::lookup(to);
        if let Some((from, dev)) = received {
            command += &format!(" from {from} iif (index {dev})");
            message.header.source_prefix_length = if from.is_ipv4() { 32 } else { 128 };
            message.attributes.push(RouteAttribute::Source(match from {
                IpAddr::V4(from) => RouteAddress::Inet(from),
                IpAddr::V6(from) => RouteAddress::Inet6(from),
            }));
            message.attributes.push(RouteAttribute::Iif(dev));
        }
        let request = Request { message: RouteNetlinkMessage::GetRoute(message), flags: 0 };
        match self.ask(&command, request) {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(verdict(&route)),
            Ok(_) => Err(KernelError::Answer { request: command, reason: "no route in it".into() }),
            Err(e) => e.errno().map(Verdict::Drop).ok_or(e),
        }
    }
}

fn verdict(route: &RouteMessage) -> Verdict {
    let (mut dev, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => dev = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => gateway = Some(IpAddr::V6(*ip)),
            _ => {}
        }
    }
    match (route.header.kind, dev) {
        (RouteType::Local, _) => Verdict::Local,
        (RouteType::Unicast, Some(dev)) => Verdict::Send { dev, gateway },
        (RouteType::Prohibit, _) => Verdict::Drop(Errno::EACCES),
        (RouteType::BlackHole, _) => Verdict::Drop(Errno::EINVAL),
        _ => Verdict::Drop(Errno::ENETUNREACH),
    }
}
