//! The rules for what this node itself sends: the overlay's packets, and what its users send.

use super::Policy;
use super::matches::{Direction, group, of, pod_network, set_hops};
use crate::identity::HOPS_OF_USERS;
use crate::kernel::nft::expression::{
    Expression, Header, Member, MetaKey, Operator, compare, goto, jump, meta, notrack, payload,
    set_meta,
};
use crate::kernel::nft::names::Names;
use crate::kernel::nft::objects::{Rule, Set};

impl Policy {
    /// Outer packets, of the overlay or of a user. What is not tracked is not translated either, so that none of
    /// these goes anywhere else. A user's are judged here, too: while another program has one in a queue, its socket may be
    /// closed, and then it is nobody's.
    pub(super) fn output(&self, names: &Names) -> Vec<Rule> {
        vec![
            self.rule("by a program", [by_a_socket(), vec![jump(&names.user)]]),
            self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]]),
        ]
    }

    /// What programs of this node send, once its destination is translated.
    pub(super) fn local(&self, names: &Names) -> Vec<Rule> {
        vec![self.rule("by a program", [by_a_socket(), vec![goto(&names.program)]])]
    }

    /// To where they should not, or into the pod network. In this order, for a VTEP may be in the pod network.
    pub(super) fn program(&self, names: &Names) -> Vec<Rule> {
        let marked = |cluster: Set| {
            let to = pod_network(&cluster, Direction::Destination, Member::In);
            let mark = set_meta(MetaKey::Priority, &self.mark()).to_vec();
            self.rule("to a pod", [of(cluster.family), to, mark])
        };
        let judged = self.rule("to where they should not", [vec![jump(&names.user)]]);
        [judged].into_iter().chain(self.clusters().map(marked)).collect()
    }

    /// Outer packets of users, which end here; and a packet that may be several datagrams (`UDP_SEGMENT` of udp(7)), of
    /// which only the first shows its VNI: peers hear none that has so few hops left.
    pub(super) fn user(&self) -> Vec<Rule> {
        let unmarked = vec![meta(MetaKey::Priority), compare(Operator::NotEqual, &self.mark())];
        let whole = [self.overlay_packet(), unmarked, self.to_a_vtep()];
        let hops = set_hops(self.underlay_family(), HOPS_OF_USERS);
        let pieces = [self.to_port(), self.in_pieces(), self.to_a_vtep(), hops];
        vec![self.drop("not the overlay's", whole), self.rule("perhaps in pieces", pieces)]
    }

    /// Perhaps several datagrams by one call. These have a checksum, as what another VXLAN device has wrapped for a program may
    /// have, too. And they are as long as two of VXLAN with nothing but an Ethernet header, for the first is no shorter
    /// than what is behind it.
    fn in_pieces(&self) -> Vec<Expression> {
        const LEAST: u16 = 8 + 2 * (8 + 14);
        const ANY_VNI: u32 = 0xff00_0000;
        let wrapped = self.overlay_group & ANY_VNI;
        // Nor as something for a pod of another network.
        let unmarked = group(MetaKey::Priority, ANY_VNI, Operator::NotEqual, wrapped);
        let summed = vec![payload(Header::Transport, 6, 2), compare(Operator::NotEqual, &[0; 2])];
        let long = vec![
            payload(Header::Transport, 4, 2),
            compare(Operator::GreatherThanEqual, &LEAST.to_be_bytes()),
        ];
        [unmarked, summed, long].concat()
    }
}

/// That a program sends it, at once or wrapped by a device.
fn by_a_socket() -> Vec<Expression> {
    vec![meta(MetaKey::SocketUserId), compare(Operator::GreatherThanEqual, &[0; 4])]
}
