//! The rules for what this node itself sends: the overlay's packets, and what its users send.

use super::Policy;
use super::matches::{Direction, group, of, pod_network};
use crate::identity::SOURCE_PORTS;
use crate::kernel::nft::expression::{
    Expression, Header, Member, MetaKey, Operator, compare, meta, notrack, payload, set_meta,
    set_source_port,
};
use crate::kernel::nft::objects::{Rule, Set};

impl Policy {
    /// Outer packets, of the overlay or of a user. What is not tracked is not translated either, so that none of
    /// these goes anywhere else; which are the overlay's is for `local` to say. And a user's that may be several,
    /// of which only the first shows its VNI: they get a source port from which no peer hears them.
    pub(super) fn output(&self) -> Vec<Rule> {
        let unheard = set_source_port(SOURCE_PORTS.0 - (1 << 14)).to_vec();
        let pieces = [self.to_port(), self.sent_in_pieces(), self.to_a_vtep()].concat();
        vec![
            self.rule("overlay packet", [self.overlay_packet(), vec![notrack()]]),
            self.rule("from no VTEP's port", [pieces, vec![notrack()], unheard]),
        ]
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

    /// By a user, and perhaps by one call for several datagrams (`UDP_SEGMENT` of udp(7)), which every rule of this node
    /// sees as one. These have a checksum; what another VXLAN device sends over IPv4 has none. And they are as long as two of
    /// VXLAN with nothing but an Ethernet header, for the first is no shorter than what is behind it.
    pub(super) fn sent_in_pieces(&self) -> Vec<Expression> {
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
        [by_a_socket(), unmarked, summed, long].concat()
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
