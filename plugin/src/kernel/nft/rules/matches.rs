//! What our rules ask of a packet, each as the expressions that go on if it is so.

use super::super::expression::{
    Header, Is, Member, Meta, compare, destination_type, lookup, mask, meta, payload, reverse_path,
};
use super::super::names::Names;
use super::super::objects::{Family, octets};
use super::RuleSet;
use crate::kernel::attribute::Attribute;

/// The bits of a device group but the one that tells pods from the overlay.
pub(super) const NETWORK: u32 = 0xfeff_ffff;

/// Which address of a packet.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Source,
    Destination,
}

impl RuleSet {
    pub(super) fn underlay_family(&self) -> Family {
        Family::of(&self.vtep)
    }

    /// A packet of this overlay, as it seems.
    pub(super) fn overlay_packet(&self) -> Vec<Attribute> {
        [self.to_port(), self.our_vni(Is::Equal)].concat()
    }

    pub(super) fn to_port(&self) -> Vec<Attribute> {
        const IPPROTO_UDP: u8 = 17;
        vec![
            meta(Meta::Transport),
            compare(Is::Equal, &[IPPROTO_UDP]),
            payload(Header::Transport, 2, 2),
            compare(Is::Equal, &self.port.to_be_bytes()),
        ]
    }

    pub(super) fn our_vni(&self, is: Is) -> Vec<Attribute> {
        vec![payload(Header::Transport, 12, 4), compare(is, &(self.vni << 8).to_be_bytes())]
    }

    /// To this node's VTEP. The node may have further addresses, of which the range file knows nothing
    /// and at which VXLAN listens, too.
    pub(super) fn to_us(&self) -> Vec<Attribute> {
        let family = self.underlay_family();
        let to = [load(family, Side::Destination), compare(Is::Equal, &octets(self.vtep))];
        [of(family), to.to_vec()].concat()
    }

    /// From a VTEP that is not this node's; of the underlay's family, which was asked before.
    pub(super) fn sent_by_peer(&self) -> Vec<Attribute> {
        vec![
            load(self.underlay_family(), Side::Source),
            compare(Is::Different, &octets(self.vtep)),
            lookup(Member::In, &Names::of(self.vni).vteps),
        ]
    }

    pub(super) fn vtep(&self, side: Side, member: Member) -> Vec<Attribute> {
        vec![load(self.underlay_family(), side), lookup(member, &Names::of(self.vni).vteps)]
    }

    /// By one of the network's veths.
    pub(super) fn sent_by_pod(&self) -> Vec<Attribute> {
        vec![meta(Meta::InputGroup), compare(Is::Equal, &self.group.to_ne_bytes())]
    }

    /// By one of the network's veths or by its overlay.
    pub(super) fn sent_by_network(&self) -> Vec<Attribute> {
        group(Meta::InputGroup, NETWORK, Is::Equal, self.group)
    }

    /// By the network's overlay.
    pub(super) fn sent_by_overlay(&self) -> Vec<Attribute> {
        vec![meta(Meta::InputGroup), compare(Is::Equal, &self.overlay_group.to_ne_bytes())]
    }

    /// To any node's VTEP.
    pub(super) fn to_a_vtep(&self) -> Vec<Attribute> {
        [of(self.underlay_family()), self.vtep(Side::Destination, Member::In)].concat()
    }
}

/// For what the node itself would receive: its own addresses, broadcasts, multicasts.
pub(super) fn for_this_node() -> Vec<Attribute> {
    const RTN_UNICAST: u32 = 1;
    vec![destination_type(), compare(Is::Different, &RTN_UNICAST.to_ne_bytes())]
}

/// The way back to the source is not by the device that it came by.
pub(super) fn astray() -> Vec<Attribute> {
    vec![reverse_path(), compare(Is::Equal, &[0; 4])]
}

/// By the group of a device, of which only some bits count.
pub(super) fn group(of: Meta, bits: u32, is: Is, value: u32) -> Vec<Attribute> {
    vec![meta(of), mask(&bits.to_ne_bytes()), compare(is, &value.to_ne_bytes())]
}

/// What a router says to the sender of a packet that was too large for the next link: type and code
/// (RFC 1191), or type alone (RFC 4443).
pub(super) fn too_large(family: Family) -> Vec<Attribute> {
    const IPPROTO_ICMP: u8 = 1;
    const IPPROTO_ICMPV6: u8 = 58;
    let (protocol, kind) = match family {
        Family::V4 => (IPPROTO_ICMP, &[3, 4][..]),
        Family::V6 => (IPPROTO_ICMPV6, &[2][..]),
    };
    vec![
        meta(Meta::Transport),
        compare(Is::Equal, &[protocol]),
        payload(Header::Transport, 0, kind.len() as u32),
        compare(Is::Equal, kind),
    ]
}

/// To no multicast address.
pub(super) fn no_multicast(family: Family) -> Vec<Attribute> {
    match family {
        Family::V4 => vec![
            load(family, Side::Destination),
            mask(&[0xf0, 0, 0, 0]),
            compare(Is::Different, &[224, 0, 0, 0]),
        ],
        Family::V6 => {
            vec![payload(Header::Network, family.destination(), 1), compare(Is::Different, &[0xff])]
        }
    }
}

/// Loads an address.
pub(super) fn load(family: Family, side: Side) -> Attribute {
    let offset = match side {
        Side::Source => family.source(),
        Side::Destination => family.destination(),
    };
    payload(Header::Network, offset, family.length())
}

/// A device's name as the kernel compares it.
pub(super) fn device_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16]; // IFNAMSIZ
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Goes on for packets of the family; in a table of family inet, only then do offsets in the IP
/// header mean something.
pub(super) fn of(family: Family) -> Vec<Attribute> {
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    vec![meta(Meta::Family), compare(Is::Equal, &[number])]
}
