//! What our rules ask of a packet, each as the expressions that go on if it is so.

use super::Policy;
use crate::kernel::nft::expression::{
    Expression, Header, Member, MetaKey, Operator, compare, destination_type, lookup, mask, meta,
    payload, reverse_path, set_word,
};
use crate::kernel::nft::names::Names;
use crate::kernel::nft::objects::{Family, Set, octets};

/// The bits of a device group but the one that tells pods from the overlay.
pub(super) const NETWORK: u32 = 0xfeff_ffff;

/// Which address of a packet.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Source,
    Destination,
}

impl Policy {
    pub(super) fn underlay_family(&self) -> Family {
        Family::of(&self.vtep)
    }

    /// A packet of this overlay, as it seems.
    pub(super) fn overlay_packet(&self) -> Vec<Expression> {
        [self.to_port(), self.our_vni(Operator::Equal)].concat()
    }

    /// To the overlay's port.
    pub(super) fn to_port(&self) -> Vec<Expression> {
        self.udp_port(2)
    }

    /// The overlay's port stands at this place of the UDP header. The port first, whatever the protocol: every packet is
    /// asked, and most fail here.
    pub(super) fn udp_port(&self, offset: u32) -> Vec<Expression> {
        const IPPROTO_UDP: u8 = 17;
        vec![
            payload(Header::Transport, offset, 2),
            compare(Operator::Equal, &self.port.to_be_bytes()),
            meta(MetaKey::L4Proto),
            compare(Operator::Equal, &[IPPROTO_UDP]),
        ]
    }

    pub(super) fn our_vni(&self, is: Operator) -> Vec<Expression> {
        vec![payload(Header::Transport, 12, 4), compare(is, &(self.vni << 8).to_be_bytes())]
    }

    /// To this node's VTEP. The node may have further addresses, of which the range file knows nothing
    /// and at which VXLAN listens, too.
    pub(super) fn to_us(&self) -> Vec<Expression> {
        let family = self.underlay_family();
        let to =
            [load(family, Direction::Destination), compare(Operator::Equal, &octets(self.vtep))];
        [of(family), to.to_vec()].concat()
    }

    /// From a VTEP that is not this node's, or to one; of the underlay's family, which was asked before.
    pub(super) fn peer(&self, side: Direction) -> Vec<Expression> {
        vec![
            load(self.underlay_family(), side),
            compare(Operator::NotEqual, &octets(self.vtep)),
            lookup(Member::In, &Names::of(self.vni).vteps),
        ]
    }

    pub(super) fn vtep(&self, side: Direction, member: Member) -> Vec<Expression> {
        vec![load(self.underlay_family(), side), lookup(member, &Names::of(self.vni).vteps)]
    }

    /// By one of the network's veths.
    pub(super) fn sent_by_pod(&self) -> Vec<Expression> {
        vec![meta(MetaKey::Iifgroup), compare(Operator::Equal, &self.group.to_ne_bytes())]
    }

    /// By one of the network's veths or by its overlay.
    pub(super) fn sent_by_network(&self) -> Vec<Expression> {
        group(MetaKey::Iifgroup, NETWORK, Operator::Equal, self.group)
    }

    /// By the network's overlay, or by another device.
    pub(super) fn sent_by_overlay(&self, is: Operator) -> Vec<Expression> {
        vec![meta(MetaKey::Iifgroup), compare(is, &self.overlay_group.to_ne_bytes())]
    }

    /// To any node's VTEP.
    pub(super) fn to_a_vtep(&self) -> Vec<Expression> {
        [of(self.underlay_family()), self.vtep(Direction::Destination, Member::In)].concat()
    }
}

/// Has more hops left than these.
pub(super) fn hops_beyond(family: Family, hops: u8) -> Vec<Expression> {
    let at = match family {
        Family::V4 => 8,
        Family::V6 => 7,
    };
    vec![payload(Header::Network, at, 1), compare(Operator::GreaterThan, &[hops])]
}

/// Leaves a packet so many hops. A checksum is of words: in IPv4 the protocol is in the same one, in IPv6 the next header.
/// `ip ttl set HOPS`, `ip6 hoplimit set HOPS`
pub(super) fn set_hops(family: Family, hops: u8) -> Vec<Expression> {
    let hops = u16::from(hops);
    match family {
        Family::V4 => set_word(8, 0x00ff, hops << 8, Some(10)),
        Family::V6 => set_word(6, 0xff00, hops, None),
    }
    .to_vec()
}

/// For what the node itself would receive: its own addresses, broadcasts, multicasts.
pub(super) fn for_this_node() -> Vec<Expression> {
    const RTN_UNICAST: u32 = 1;
    vec![destination_type(), compare(Operator::NotEqual, &RTN_UNICAST.to_ne_bytes())]
}

/// The way back to the source is not by the device that it came by.
pub(super) fn astray() -> Vec<Expression> {
    vec![reverse_path(), compare(Operator::Equal, &[0; 4])]
}

/// By the group of a device, or a mark like it, of which only some bits count.
pub(super) fn group(of: MetaKey, bits: u32, is: Operator, value: u32) -> Vec<Expression> {
    vec![meta(of), mask(&bits.to_ne_bytes()), compare(is, &value.to_ne_bytes())]
}

/// What a router says to the sender of a packet that was too large for the next link: type and code
/// (RFC 1191), or type alone (RFC 4443).
pub(super) fn too_large(family: Family) -> Vec<Expression> {
    const IPPROTO_ICMP: u8 = 1;
    const IPPROTO_ICMPV6: u8 = 58;
    let (protocol, kind) = match family {
        Family::V4 => (IPPROTO_ICMP, &[3, 4][..]),
        Family::V6 => (IPPROTO_ICMPV6, &[2][..]),
    };
    vec![
        meta(MetaKey::L4Proto),
        compare(Operator::Equal, &[protocol]),
        payload(Header::Transport, 0, kind.len() as u32),
        compare(Operator::Equal, kind),
    ]
}

/// To no multicast address.
pub(super) fn no_multicast(family: Family) -> Vec<Expression> {
    match family {
        Family::V4 => vec![
            load(family, Direction::Destination),
            mask(&[0xf0, 0, 0, 0]),
            compare(Operator::NotEqual, &[224, 0, 0, 0]),
        ],
        Family::V6 => {
            vec![
                payload(Header::Network, family.destination(), 1),
                compare(Operator::NotEqual, &[0xff]),
            ]
        }
    }
}

/// Loads an address.
pub(super) fn load(family: Family, side: Direction) -> Expression {
    let offset = match side {
        Direction::Source => family.source(),
        Direction::Destination => family.destination(),
    };
    payload(Header::Network, offset, family.length())
}

/// Whether that address is of the pod network. `ip saddr @cluster4-VNI`
pub(super) fn pod_network(cluster: &Set, side: Direction, member: Member) -> Vec<Expression> {
    vec![load(cluster.family, side), lookup(member, &cluster.name)]
}

/// A device's name, or kind, as the kernel compares it.
pub(super) fn device_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16]; // IFNAMSIZ
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Goes on for packets of the family; in a table of family inet, only then do offsets in the IP
/// header mean something.
pub(super) fn of(family: Family) -> Vec<Expression> {
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    vec![meta(MetaKey::Nfproto), compare(Operator::Equal, &[number])]
}
