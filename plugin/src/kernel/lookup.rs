//! What the kernel would do with a packet now: asked, and not guessed from its tables. `ip route get`

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};

use super::decision::{Decision, Origin};
use super::route_socket::Request;
use super::{Flow, KernelError, Netlink, Redirect, question, ways};

impl Netlink {
    /// Asks what becomes of a packet to `to`.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn decide(&mut self, to: IpAddr, origin: Origin) -> Result<Decision, KernelError> {
        let command = format!("ip route get {to}{}", words(&origin));
        let message = match origin {
            Origin::Sent(flow) => question::lookup(to, &flow),
            Origin::Received { from, dev } => received(to, from, dev),
        };
        let request = Request { message: RouteNetlinkMessage::GetRoute(message), flags: 0 };
        match self.ask(&command, request, ways::verdict) {
            Ok(verdict) => verdict.ok_or_else(|| KernelError::Answer {
                request: command,
                reason: "no route in it".into(),
            }),
            Err(e) => e.errno().map(Decision::Drop).ok_or(e),
        }
    }

    /// Where nf_tables leads a packet to `to` before it is routed, as far as others' rules name that.
    /// `nft list ruleset`
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn redirects(&mut self, to: IpAddr) -> Result<Vec<Redirect>, KernelError> {
        Ok(self.firewall()?.redirects(to)?)
    }
}

fn received(to: IpAddr, from: IpAddr, dev: u32) -> RouteMessage {
    let flow = Flow { source: Some(from), ..Flow::default() };
    let mut message = question::lookup(to, &flow);
    message.attributes.push(RouteAttribute::Iif(dev));
    message
}

fn words(origin: &Origin) -> String {
    match origin {
        Origin::Sent(flow) => flow.words(),
        Origin::Received { from, dev } => format!(" from {from} iif (index {dev})"),
    }
}

impl Flow {
    /// In the words of ip(8), behind a destination.
    pub(super) fn words(&self) -> String {
        let source = self.source.map(|from| format!(" from {from}")).unwrap_or_default();
        let vrf = self.vrf.map(|vrf| format!(" vrf (index {vrf})")).unwrap_or_default();
        let port = self.port.map(|port| format!(" ipproto udp dport {port}")).unwrap_or_default();
        format!("{source}{vrf}{port}")
    }
}
