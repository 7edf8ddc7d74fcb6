//! What the real kernel refuses, as far as the order of changes turns on it.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{Fake, FakeLink};
use crate::kernel::{LinkKind, Route};

impl FakeLink {
    fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|has| has.ip() == address)
    }
}

impl Fake {
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.links.values().any(|link| link.has_address(address))
    }

    /// What the kernel says to a route over the device of this index before it looks at others.
    pub(super) fn refuse_route(&mut self, dev: u32, route: &Route) -> Result<(), Errno> {
        let strange = route.source.is_some_and(|source| !self.has_address(source));
        // Of an IPv4 gateway on the link the device alone is asked (`fib_check_nh`), of an IPv6 one all
        // are (`ip6_validate_gw`).
        let on_itself = route.gateway.is_some_and(|gateway| match gateway {
            IpAddr::V4(_) => self.by_index(dev).is_some_and(|link| link.has_address(gateway)),
            IpAddr::V6(_) => self.has_address(gateway),
        });
        if strange || on_itself { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Switching a VXLAN device on binds its port, or shares that of others that are alike.
    pub(super) fn refuse_port(&self, dev: u32) -> Result<(), Errno> {
        let of = |link: &FakeLink| match &link.link.kind {
            LinkKind::Vxlan(vxlan) => Some(vxlan.clone()),
            _ => None,
        };
        let link = self.links.values().find(|link| link.link.dev.index == dev);
        let Some(own) = link.filter(|link| !link.link.up).and_then(of) else { return Ok(()) };
        let others = self.links.values().filter(|link| link.link.up && link.link.dev.index != dev);
        let mut meeting = others.filter_map(of).filter(|other| own.meets(other)).peekable();
        let taken = match meeting.peek() {
            Some(_) => meeting.any(|other| other.special != own.special),
            None => self.ports.contains(&own.port),
        };
        if taken { Err(Errno::EADDRINUSE) } else { Ok(()) }
    }
}
