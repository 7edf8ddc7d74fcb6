//! What every node computes of a peer by itself.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::Mac;

/// MAC of the overlay device of the node with this VTEP: locally administered, unicast.
///
/// Of its 46 bits two VTEPs may have the same, by intent if not by chance: a [`RangeFile`](crate::RangeFile) has
/// no two such.
pub fn vtep_mac(vni: u32, vtep: IpAddr) -> Mac {
    Mac::of_digest(&peer_digest(vni, vtep))
}

/// What a VTEP's MAC is made of, and whatever else nodes are to agree on about a peer.
pub fn peer_digest(vni: u32, vtep: IpAddr) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(vni.to_be_bytes());
    match vtep {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
    hash.finalize().into()
}
