//! The rules for what comes in: from the underlay, from pods, and from everything else.

use super::super::expression::{
    Header, Is, Member, Meta, Verdict, compare, direction, goto, jump, lookup, meta, notrack,
    payload, reverse_path, verdict,
};
use super::super::names::Names;
use super::super::objects::{Family, Rule, Set};
use super::matches::{LOOPBACKS, Side, astray, device_name, load, of, too_large};
use super::{Masquerade, RuleSet};
use crate::kernel::attribute::Attribute;

impl RuleSet {
    /// Outer packets for this node are not tracked: conntrack would hold an entry per flow of pods for
    /// nothing, and fill up. What is not tracked is not translated either.
    pub(super) fn prerouting(&self, names: &Names) -> Vec<Rule> {
        let untracked = vec![notrack(), verdict(Verdict::Accept)];
        let of_pods = self.clusters().map(|cluster| {
            let by_others = vec![
                meta(Meta::InputGroup),
                compare(Is::Different, &self.overlay_group.to_ne_bytes()),
            ];
            let source =
                vec![load(cluster.family, Side::Source), lookup(Member::In, &cluster.name)];
            let judged = vec![goto(&names.source)];
            self.rule("a pod's source", [by_others, of(cluster.family), source, judged])
        });
        [
            self.rule("overlay packet", [self.overlay_packet(), self.to_us(), untracked]),
            self.rule("from a pod", [self.sent_by_pod(), vec![goto(&names.pod)]]),
        ]
        .into_iter()
        .chain(of_pods)
        .collect()
    }

    /// What comes from neither a pod nor the overlay, with a source of the pod network.
    pub(super) fn source(&self) -> Vec<Rule> {
        let by_devices = self
            .by_underlay()
            .map(|by| self.rule("by the underlay", [by, vec![verdict(Verdict::Accept)]]));
        by_devices.chain([self.drop("spoofed source", [astray()])]).collect()
    }

    /// That it came by one of the underlay's devices, for each.
    fn by_underlay(&self) -> impl Iterator<Item = Vec<Attribute>> {
        let by =
            |name: &String| vec![meta(Meta::InputName), compare(Is::Equal, &device_name(name))];
        self.underlay.iter().map(by)
    }

    /// What pods of this node send.
    pub(super) fn pod(&self) -> Vec<Rule> {
        let to_no_pod = [Family::V4, Family::V6].map(|family| {
            let to = self.outside(family, family.destination(), Header::Network);
            self.drop("path MTU to no pod", [too_large(family), to])
        });
        let loopbacks = LOOPBACKS.map(|to| self.drop("to the loopback", [to.packets()]));
        [self.drop("spoofed source", [astray()])]
            .into_iter()
            .chain(loopbacks)
            .chain(to_no_pod)
            .collect()
    }

    pub(super) fn input(&self, names: &Names) -> Vec<Rule> {
        vec![
            self.rule("VXLAN", [self.to_port(), vec![jump(&names.vxlan)]]),
            self.rule("from the network", [self.sent_by_network(), vec![goto(&names.node)]]),
        ]
    }

    /// VXLAN that this node receives.
    pub(super) fn vxlan(&self) -> Vec<Rule> {
        let accept = || vec![verdict(Verdict::Accept)];
        let leads_back = vec![reverse_path(), compare(Is::Different, &[0; 4])];
        let by_devices = self
            .by_underlay()
            .map(|by| self.rule("from a VTEP", [self.to_us(), self.sent_by_peer(), by, accept()]));
        by_devices
            .chain([
                self.rule("from a VTEP", [self.to_us(), self.sent_by_peer(), leads_back, accept()]),
                self.rule("another overlay's VNI", [self.our_vni(Is::Different), accept()]),
                self.drop("from or to no VTEP", [of(self.underlay_family())]),
            ])
            .collect()
    }

    /// What pods, of this node or of others, send to this one.
    pub(super) fn node(&self) -> Vec<Rule> {
        // Behind NAT, answers of pods to what came from the loopback are for it, too.
        let translated = (self.masquerade != Masquerade::Off).then(|| {
            LOOPBACKS.map(|loopback| {
                let first = vec![direction(), compare(Is::Equal, &[0])];
                self.drop("to the loopback by NAT", [loopback.packets(), first])
            })
        });
        let path_mtu = [Family::V4, Family::V6].into_iter().flat_map(|family| {
            // The header of what was too large stands behind eight bytes of ICMP.
            let about = self.outside(family, 8 + family.destination(), Header::Transport);
            [
                self.drop("path MTU from a pod", [too_large(family), self.sent_by_pod()]),
                self.drop("path MTU of the underlay", [too_large(family), about]),
            ]
        });
        translated.into_iter().flatten().chain(path_mtu).collect()
    }

    /// An address in the packet is not of the pod network.
    fn outside(&self, family: Family, offset: u32, header: Header) -> Vec<Attribute> {
        let cluster = self.clusters().find(|cluster| cluster.family == family);
        let is_outside = |cluster: Set| {
            let address = payload(header, offset, family.length());
            vec![address, lookup(Member::NotIn, &cluster.name)]
        };
        cluster.map(is_outside).unwrap_or_default()
    }
}
