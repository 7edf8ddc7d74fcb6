//! The rules for what this node itself sends: the overlay's packets, and what its users send.

use super::Policy;
use super::matches::{Direction, load, of};
use crate::kernel::nft::expression::{
    Expression, Member, MetaKey, Operator, compare, lookup, meta, notrack, set_meta,
};
use crate::kernel::nft::objects::{Rule, Set};

impl Policy {
    /// Outer packets, of the overlay or of a user. What is not tracked is not translated, so that none of
    /// these goes anywhere else.
    pub(super) fn output(&self) -> Vec<Rule> {
        let by_user = [self.sent_by_user(), self.overlay_packet(), self.to_a_vtep()];
        vec![
            self.drop("not the overlay's", by_user),
            self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]]),
        ]
    }

    /// What programs of this node send, once its destination is translated: into the pod network, or to
    /// where they should not.
    pub(super) fn local(&self) -> Vec<Rule> {
        let marked = |cluster: Set| {
            let to = vec![load(cluster.family, Direction::Destination)];
            let to = [to, vec![lookup(Member::In, &cluster.name)]].concat();
            let mark = set_meta(MetaKey::Priority, &self.mark()).to_vec();
            self.rule("to a pod", [by_a_socket(), of(cluster.family), to, mark])
        };
        let led_astray = (!self.masquerades()).then(|| {
            let which = [self.sent_by_user(), self.overlay_packet(), self.to_a_vtep()];
            self.drop("VXLAN by NAT", which)
        });
        self.clusters().map(marked).chain(led_astray).collect()
    }

    /// By a socket, and not as something for a pod.
    fn sent_by_user(&self) -> Vec<Expression> {
        let unmarked = compare(Operator::NotEqual, &self.mark());
        [by_a_socket(), vec![meta(MetaKey::Priority), unmarked]].concat()
    }
}

/// That a program sends it, at once or wrapped by a device.
fn by_a_socket() -> Vec<Expression> {
    vec![meta(MetaKey::SocketUserId), compare(Operator::GreatherThanEqual, &[0; 4])]
}
