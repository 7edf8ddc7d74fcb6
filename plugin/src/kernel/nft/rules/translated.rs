//! The rules for what has been translated: a Service, a published port or IPVS may lead to a VTEP's port
//! or to the loopback. They stand in chains of type nat, which see the first packet of a connection
//! only, whatever it carries: the rest cost nothing.

use super::super::expression::{Direction, Header, Is, Tracked, compare, mask, payload, tracked};
use super::super::objects::{Family, Rule};
use super::RuleSet;
use super::matches::of;
use crate::kernel::attribute::Attribute;
use std::net::Ipv6Addr;

impl RuleSet {
    /// For this node.
    pub(super) fn landing(&self) -> Vec<Rule> {
        let to_loopback = [(Family::V4, &[127][..]), (Family::V6, &Ipv6Addr::LOCALHOST.octets())]
            .map(|(family, bytes)| {
                let to = payload(Header::Network, family.destination(), bytes.len() as u32);
                let to = [of(family), vec![to, compare(Is::Equal, bytes)]].concat();
                self.drop("to the loopback by NAT", [self.sent_by_network(), to])
            });
        self.led_astray(Vec::new).into_iter().chain(to_loopback).collect()
    }

    /// Sent on or sent by this node, before it takes this node's address.
    pub(super) fn departing(&self) -> Vec<Rule> {
        self.led_astray(|| self.to_a_vtep()).into_iter().chain([self.to_gateway()]).collect()
    }

    /// To the overlay's port only since it was translated, by NAT or, where the connection was not, by IPVS.
    fn led_astray(&self, to: impl Fn() -> Vec<Attribute>) -> [Rule; 2] {
        const IPS_DST_NAT: u32 = 1 << 5;
        let by_nat = vec![
            tracked(Tracked::Status),
            mask(&IPS_DST_NAT.to_ne_bytes()),
            compare(Is::Different, &[0; 4]),
        ];
        let port = self.port.to_be_bytes();
        let elsewhere = vec![
            tracked(Tracked::DestinationPort(Direction::Original)),
            compare(Is::Different, &port),
        ];
        let rule = |how| self.drop("VXLAN by NAT", [self.to_port(), to(), how]);
        [rule(by_nat), rule(elsewhere)]
    }
}
