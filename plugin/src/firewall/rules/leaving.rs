//! The rules for what this node itself sends: the overlay's packets, and what its users send.

use super::Policy;
use super::matches::{Direction, of, pod_network};
use crate::kernel::nft::expression::{
    Expression, Member, MetaKey, Operator, compare, meta, notrack, set_meta,
};
use crate::kernel::nft::objects::{Rule, Set};

impl Policy {
    /// Outer packets, of the overlay or of a user. What is not tracked is not translated either, so that none of
    /// these goes anywhere else; which are the overlay's is for `local` to say.
    pub(super) fn output(&self) -> Vec<Rule> {
        vec![self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]])]
    }

    /// What programs of this node send, once its destination is translated: to where they should not, or into
    /// the pod network. In this order, for a VTEP may be in the pod network.
    pub(super) fn local(&self) -> Vec<Rule> {
        let marked = |cluster: Set| {
            let to = pod_network(&cluster, Direction::Destination, Member::In);
            let mark = set_meta(MetaKey::Priority, &self.mark()).to_vec();
            self.rule("to a pod", [by_a_socket(), of(cluster.family), to, mark])
        };
        let by_user = [self.sent_by_user(), self.overlay_packet(), self.to_a_vtep()];
        let by_user = self.drop("not the overlay's", by_user);
        [by_user].into_iter().chain(self.clusters().map(marked)).collect()
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
