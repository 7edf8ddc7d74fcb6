//! What the kernel may do with a packet, and where that comes from.

use std::net::IpAddr;

use nix::errno::Errno;

use super::Flow;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
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

/// Where a packet comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// The machine itself sends it.
    Sent(Flow),
    /// It came in with this source.
    Received {
        /// Its source.
        from: IpAddr,
        /// Index of the device that it came in by.
        dev: u32,
    },
}
