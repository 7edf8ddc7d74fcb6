//! What the programs are told of their network: `struct network` and the peers of `plugin/bpf/maps.h`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use nix::errno::Errno;

use super::path::FastPath;
use super::{maps, time};
use crate::kernel::{FdbEntry, KernelError};

/// `UPLINKS`
const UPLINKS: usize = 8;
/// `struct network`
const NETWORK: usize = 84;
/// Where it says whether it is on: in every version's.
const ON: std::ops::Range<usize> = 0..4;
/// Where its generation stands.
const GENERATION: std::ops::Range<usize> = 4..8;
/// Where its uplinks begin.
const PLACE_OF_UPLINKS: usize = 48;
/// `max_entries` of the map of peers.
const PEERS: u32 = 65536;

/// A network as the programs know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSettings {
    /// Whether anything takes the fast path.
    pub on: bool,
    /// Index of the VXLAN device.
    pub overlay: u32,
    /// The priority that packets bear which the overlay has unwrapped and our rules have judged.
    pub judged: u32,
    /// The VNI.
    pub vni: u32,
    /// UDP port of the overlay.
    pub port: u16,
    /// The first and the last source port.
    pub source_ports: (u16, u16),
    /// The overlay's MTU, in bytes.
    pub mtu: u32,
    /// This node's VTEP.
    pub vtep: IpAddr,
    /// Indices of the Ethernet devices by which encapsulated packets may leave. Without any, the overlay's device
    /// encapsulates them.
    pub uplinks: Vec<u32>,
}

impl PathSettings {
    fn bytes(&self, generation: u32, second: u32) -> [u8; NETWORK] {
        const AF_INET: u16 = 2;
        const AF_INET6: u16 = 10;
        let family = if self.vtep.is_ipv4() { AF_INET } else { AF_INET6 };
        let family = if self.uplinks.is_empty() { 0 } else { family };
        let mut bytes = [0; NETWORK];
        let mut put = |place: usize, value: &[u8]| {
            bytes.iter_mut().skip(place).zip(value).for_each(|(to, from)| *to = *from);
        };
        put(0, &u32::from(self.on).to_ne_bytes());
        put(GENERATION.start, &generation.to_ne_bytes());
        put(8, &self.overlay.to_ne_bytes());
        put(12, &self.judged.to_ne_bytes());
        put(16, &self.vni.to_ne_bytes());
        put(20, &self.port.to_ne_bytes());
        put(22, &self.source_ports.0.to_ne_bytes());
        put(24, &self.source_ports.1.to_ne_bytes());
        put(26, &family.to_ne_bytes());
        put(28, &self.mtu.to_ne_bytes());
        put(32, &address(self.vtep));
        put(80, &second.to_ne_bytes());
        for (n, uplink) in self.uplinks.iter().take(UPLINKS).enumerate() {
            put(PLACE_OF_UPLINKS + 4 * n, &uplink.to_ne_bytes());
        }
        bytes
    }
}

/// Writes at a place, if there is one.
fn put(network: &mut [u8], place: std::ops::Range<usize>, value: &[u8]) {
    network.iter_mut().skip(place.start).zip(value).for_each(|(to, from)| *to = *from);
}

/// An address in four words of a packet.
fn address(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    bytes
}

fn peer(entry: &FdbEntry) -> ([u8; 8], [u8; 16]) {
    let mut mac = [0; 8];
    mac[..6].copy_from_slice(&entry.mac.0);
    (mac, address(entry.vtep))
}

/// What was done about peers, in words.
fn of_peers(put: usize, removed: usize) -> Option<String> {
    let words = || format!("fast path: {put} peers put, {removed} removed");
    (put + removed > 0).then(words)
}

/// Under which generation flows are learned now.
pub(super) fn generation(path: &FastPath) -> Result<u32, KernelError> {
    read(path).map(|now| generation_of(&now))
}

/// What the programs were told, those of another version too, to which more or less may have been said.
fn read(path: &FastPath) -> Result<Vec<u8>, KernelError> {
    maps::value(&path.map("network")?, 0)
}

fn generation_of(network: &[u8]) -> u32 {
    let bytes = network.get(GENERATION).and_then(|bytes| bytes.first_chunk()).copied();
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

impl FastPath {
    /// Tells the programs what the network is; returns what that changed, in words. Where `renew` says so, or the network
    /// or a peer is another one, all that was learned is void.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::kernel) fn configure(
        &self,
        settings: &PathSettings,
        peers: &[FdbEntry],
        renew: bool,
    ) -> Result<Vec<String>, KernelError> {
        let mut changes = Vec::new();
        let map = self.map("peers")?;
        let mut stale: HashMap<[u8; 8], [u8; 16]> = maps::all(&map, PEERS)?.into_iter().collect();
        let mut wanted: Vec<_> = peers.iter().map(peer).collect();
        wanted.retain(|(mac, vtep)| stale.remove(mac).as_ref() != Some(vtep));
        maps::put(&map, &wanted)?;
        let stale: Vec<[u8; 8]> = stale.into_keys().collect();
        // What has another VTEP now was put in its place.
        maps::remove(&map, &stale)?;
        changes.extend(of_peers(wanted.len(), stale.len()));
        let map = self.map("network")?;
        let now = read(self)?;
        let generation = generation_of(&now);
        let second = time::second()?;
        let same = settings.bytes(generation, second)[..] == now[..];
        if !same || renew || !changes.is_empty() {
            maps::write(&map, 0, &settings.bytes(generation.wrapping_add(1), second))?;
        }
        if !same {
            let state = if settings.on { "on" } else { "off" };
            changes.push(format!("fast path: network {} {state}", settings.vni));
        }
        Ok(changes)
    }

    /// Tells the programs of peers that are new or have another VTEP, and of those that are `gone`, without a look at the
    /// others; returns what that changed, in words. All that was learned is void.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::kernel) fn renew(
        &self,
        new: &[FdbEntry],
        gone: &[FdbEntry],
    ) -> Result<Vec<String>, KernelError> {
        let map = self.map("peers")?;
        let new: Vec<_> = new.iter().map(peer).collect();
        maps::put(&map, &new)?;
        // What has another VTEP now was put in its place.
        let stays: HashSet<_> = new.iter().map(|(mac, _)| *mac).collect();
        let gone = gone.iter().map(|entry| peer(entry).0).filter(|mac| !stays.contains(mac));
        let mut removed = 0;
        for mac in gone {
            match maps::remove(&map, &[mac]) {
                // Who else follows the file has been here.
                Err(e) if e.errno() == Some(Errno::ENOENT) => {}
                outcome => outcome.map(|()| removed += 1)?,
            }
        }
        let mut now = read(self)?;
        let generation = generation_of(&now).wrapping_add(1);
        put(&mut now, GENERATION, &generation.to_ne_bytes());
        maps::write(&self.map("network")?, 0, &now)?;
        Ok(of_peers(new.len(), removed).into_iter().collect())
    }

    /// Indices of the Ethernet devices by which encapsulated packets may leave.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn uplinks(&self) -> Result<Vec<u32>, KernelError> {
        let now = read(self)?;
        let places = now.get(PLACE_OF_UPLINKS..).unwrap_or_default().chunks_exact(4).take(UPLINKS);
        let indices =
            places.filter_map(|bytes| bytes.first_chunk().copied()).map(u32::from_ne_bytes);
        Ok(indices.filter(|index| *index != 0).collect())
    }

    /// Nothing takes the fast path any more, whatever still hangs on devices.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::kernel) fn switch_off(&self) -> Result<(), KernelError> {
        let mut now = read(self)?;
        put(&mut now, ON, &[0; 4]);
        maps::write(&self.map("network")?, 0, &now)
    }
}
