//! The rules for what goes out: to the underlay, and to the pods' gateway.

use super::super::expression::{
    Is, Member, Meta, Verdict, compare, jump, meta, notrack, set_meta, verdict,
};
use super::super::names::Names;
use super::super::objects::{Family, Rule};
use super::RuleSet;
use super::matches::{Side, load, octets, of};

impl RuleSet {
    pub(super) fn output(&self) -> Vec<Rule> {
        vec![self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]])]
    }

    pub(super) fn egress(&self, names: &Names) -> Vec<Rule> {
        let vxlan = self.rule("VXLAN", [self.to_port(), vec![jump(&names.outer)]]);
        let gateways = self.gateways.iter().map(|gateway| {
            let family = Family::of(gateway);
            let to = vec![load(family, Side::Destination), compare(Is::Equal, &octets(*gateway))];
            // Most packets fail the comparison, so the family is asked behind it.
            self.drop("to the gateway", [to, of(family), self.sent_by_pod()])
        });
        let mark = self.in_vrf.then(|| {
            let group = self.overlay_group.to_ne_bytes();
            let into_overlay = vec![meta(Meta::OutputGroup), compare(Is::Equal, &group)];
            self.rule("into the overlay", [into_overlay, set_meta(Meta::Priority, &group).into()])
        });
        [vxlan].into_iter().chain(mark).chain(gateways).collect()
    }

    /// VXLAN that leaves this node.
    pub(super) fn outer(&self) -> Vec<Rule> {
        let accept = || vec![verdict(Verdict::Accept)];
        let to_a_vtep = || {
            let to = self.vtep(Side::Destination, Member::In);
            [of(self.underlay_family()), to].concat()
        };
        let forwarded = vec![meta(Meta::Input), compare(Is::Different, &[0; 4])];
        vec![
            self.rule("the overlay's own", [self.made_by_overlay(), accept()]),
            // No VNI is looked at: a pod has no business with any VTEP.
            self.drop("VXLAN from a pod", [self.sent_by_pod(), to_a_vtep()]),
            self.rule("another overlay's VNI", [self.our_vni(Is::Different), accept()]),
            self.drop("not the overlay's", [self.our_vni(Is::Equal), to_a_vtep()]),
            self.drop("fragment that hides its VNI", [forwarded, to_a_vtep()]),
        ]
    }
}
