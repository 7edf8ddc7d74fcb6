//! The rules for what has been translated: a Service, a published port or IPVS may lead to a VTEP's port
//! or to the loopback. They stand in chains of type nat, which see the first packet of a connection
//! only, whatever it carries: the rest cost nothing. Such a chain alone does not switch conntrack on, only
//! asking for what that knows does; so this is asked with `ipMasq` only, which has it anyway.

use super::Policy;
use super::matches::{Direction as Side, device_name, of};
use crate::kernel::nft::expression::{
    Direction, Expression, Header, Member, MetaKey, Operator, Tracked, compare, mask, meta,
    payload, source_type, tracked,
};
use crate::kernel::nft::objects::{Family, Rule};
use std::net::Ipv6Addr;

impl Policy {
    /// For this node.
    pub(super) fn landing(&self) -> Vec<Rule> {
        let to_loopback = [(Family::V4, &[127][..]), (Family::V6, &Ipv6Addr::LOCALHOST.octets())]
            .map(|(family, bytes)| {
                let to = payload(Header::Network, family.destination(), bytes.len() as u32);
                let to = [of(family), vec![to, compare(Operator::Equal, bytes)]].concat();
                self.drop("to the loopback by NAT", [self.sent_by_network(), to])
            });
        let led_astray = self.masquerades().then(|| self.led_astray(Vec::new));
        led_astray.into_iter().flatten().chain(to_loopback).collect()
    }

    /// Sent on or sent by this node, before it takes this node's address; and what takes it in a way of its own.
    pub(super) fn departing(&self) -> Vec<Rule> {
        let carried = [self.asked_by_a_vteps_port()].into_iter().chain(self.carried());
        if !self.masquerades() {
            return carried.collect();
        }
        let astray = self.led_astray(|| self.to_a_vtep());
        let by_pod = self.may_become_a_vtep().map(|to| [self.sent_by_pod(), to].concat());
        let further = by_pod.map(|to| self.led_astray(|| to.clone())).into_iter().flatten();
        carried.chain(astray).chain(further).chain(self.leaving_for_a_node()).collect()
    }

    /// From a VTEP's port. Whom that reaches by NAT would answer to it, under this node's address, and answers pass no
    /// chain of type nat. VXLAN has source ports of its own, and what nodes send otherwise has that one by chance at most.
    fn asked_by_a_vteps_port(&self) -> Rule {
        let by_vtep = [of(self.underlay_family()), self.vtep(Side::Source, Member::In)].concat();
        self.drop("from a VTEP's port", [self.udp_port(0), by_vtep])
    }

    /// To a VTEP's port by another device than one of kind vxlan, or from another address than this node's:
    /// not wrapped here, but sent on, whatever its VNI. A user of this node has no such device.
    fn carried(&self) -> [Rule; 2] {
        const RTN_LOCAL: u32 = 2;
        let kind = compare(Operator::NotEqual, &device_name("vxlan"));
        let by_another = vec![meta(MetaKey::Iifkind), kind];
        let came_in = vec![meta(MetaKey::Iifgroup), compare(Operator::GreatherThanEqual, &[0; 4])];
        let of_another = vec![source_type(), compare(Operator::NotEqual, &RTN_LOCAL.to_ne_bytes())];
        [by_another, [came_in, of_another].concat()]
            .map(|how| self.drop("VXLAN sent on", [self.to_port(), self.to_a_vtep(), how]))
    }

    /// To the overlay's port only since it was translated, by NAT or, where the connection was not, by IPVS.
    fn led_astray(&self, to: impl Fn() -> Vec<Expression>) -> [Rule; 2] {
        const IPS_DST_NAT: u32 = 1 << 5;
        let by_nat = vec![
            tracked(Tracked::Status),
            mask(&IPS_DST_NAT.to_ne_bytes()),
            compare(Operator::NotEqual, &[0; 4]),
        ];
        let port = self.port.to_be_bytes();
        let elsewhere = vec![
            tracked(Tracked::DestinationPort(Direction::Original)),
            compare(Operator::NotEqual, &port),
        ];
        let rule = |how| self.drop("VXLAN by NAT", [self.to_port(), to(), how]);
        [rule(by_nat), rule(elsewhere)]
    }
}
