//! How large a packet the overlay can carry.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::IpAddr;

use flatnet_conf::{Node, RangeFile};

use crate::error::Error;
use crate::kernel::{Observe, Path};
use crate::overlay::underlay::Underlay;

/// Outer headers around an inner packet, in bytes: Ethernet 14, VXLAN 8, UDP 8 and IP.
/// RFC 7348 section 4.3 counts the same for IPv4.
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;
/// The smallest MTU that IPv6 allows, RFC 8200 section 5; below it the kernel switches IPv6 off.
const MINIMUM_V6: u32 = 1280;
/// The smallest MTU that IPv4 allows, RFC 791.
const MINIMUM_V4: u32 = 68;
/// What to expect of a wire that cannot be seen, RFC 894.
const ETHERNET: u32 = 1500;

/// The overlay's MTU, and why it is that.
#[derive(Debug)]
pub struct OverlayMtu {
    /// How large pods' packets may be, in bytes.
    pub pods: u32,
    /// The way that decides it, if nothing is configured.
    pub by: WayMtu,
    /// The ways that do not count, because they carry less than is needed: toward at least one peer for each.
    pub narrow: Vec<WayMtu>,
    /// What a way has to carry.
    pub needed: Needed,
}

/// What a way carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayMtu {
    /// Outer headers included, in bytes.
    pub mtu: u32,
    /// The uplink.
    pub dev: String,
    /// The peer's VTEP; `None` if the MTU is that of the own VTEP's device.
    pub toward: Option<IpAddr>,
}

/// What a way has to carry, so that pods can use their addresses, and packets as large as is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The pods' packets, in bytes.
    pub pods: u32,
    /// The least that their addresses need, in bytes.
    pub minimum: u32,
    /// The outer headers, in bytes.
    pub overhead: u32,
}

impl Needed {
    fn of(node: &Node, configured: Option<u32>) -> Self {
        let minimum = match has_ipv6(node) {
            true => MINIMUM_V6,
            false => MINIMUM_V4,
        };
        let pods = configured.map_or(minimum, |mtu| mtu.max(minimum));
        Self { pods, minimum, overhead: overhead(node) }
    }

    /// In bytes.
    pub fn total(&self) -> u32 {
        self.pods + self.overhead
    }
}

/// `1330 bytes (1280 for IPv6 and 50 of outer headers)`
impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, minimum, overhead } = self;
        write!(f, "{} bytes (", self.total())?;
        match (pods > minimum, *minimum) {
            (true, _) => write!(f, "mtu: {pods}")?,
            (false, MINIMUM_V6) => write!(f, "{pods} for IPv6")?,
            (false, _) => write!(f, "{pods} for IPv4")?,
        }
        write!(f, " and {overhead} of outer headers)")
    }
}

impl OverlayMtu {
    /// A sentence for each way that is too narrow.
    pub fn warnings(&self, file: &RangeFile) -> Vec<String> {
        let words = |((dev, mtu), vteps): ((&str, u32), Vec<IpAddr>)| {
            let peer = file.nodes.iter().find(|node| vteps.contains(&node.vtep))?;
            let others = if vteps.len() > 1 { " and others" } else { "" };
            Some(format!(
                "the way by {dev} to {} ({}){others} carries {mtu} bytes and not the {} that are needed: it \
                 does not count for the MTU; see `flatnet doctor`",
                peer.name, peer.vtep, self.needed
            ))
        };
        alike(&self.narrow).into_iter().filter_map(words).collect()
    }
}

/// The VTEPs toward which ways lead, by device and MTU.
pub fn alike(ways: &[WayMtu]) -> BTreeMap<(&str, u32), Vec<IpAddr>> {
    let mut alike: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
    for way in ways {
        alike.entry((&way.dev[..], way.mtu)).or_default().extend(way.toward);
    }
    alike
}

/// The overlay's MTU: what the narrowest way to a peer carries, less the outer headers, or what is
/// configured. A peer whose way is too narrow for what is needed does not count.
///
/// # Errors
/// Code 7 if more is configured than the own VTEP's device carries, or that is too small for the families in
/// use; a kernel error if a device cannot be looked at.
pub fn decide(
    kernel: &mut dyn Observe,
    underlay: &Underlay,
    node: &Node,
    configured: Option<u32>,
) -> Result<OverlayMtu, Error> {
    let needed = Needed::of(node, configured);
    let all = ways(kernel, &underlay.peers)?;
    let own = own(kernel, underlay)?;
    let (by, narrow) = weigh(all, own, needed.total())
        .ok_or_else(|| Error::Configuration { reason: nowhere(node) })?;
    let pods =
        choose(by.mtu, needed, configured).map_err(|reason| Error::Configuration { reason })?;
    Ok(OverlayMtu { pods, by, narrow, needed })
}

/// Bytes of outer headers on the underlay of this node.
pub fn overhead(node: &Node) -> u32 {
    if node.vtep.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 }
}

fn has_ipv6(node: &Node) -> bool {
    node.ranges.iter().any(|range| range.subnet().is_ipv6())
}

/// The way that decides, and those that are too narrow for what is needed. A peer with such a way does not
/// count: what another node says of itself must not stop this one. The own VTEP's device does count, if it is
/// too narrow and peers are reached by it; and where no peer's way suffices.
fn weigh(all: Vec<WayMtu>, own: Option<WayMtu>, needed: u32) -> Option<(WayMtu, Vec<WayMtu>)> {
    // Not where the own one is a guess.
    let by = |own: &WayMtu| all.iter().any(|way| way.dev == own.dev && way.mtu <= own.mtu);
    let short = own.clone().filter(|own| own.mtu < needed && by(own));
    let (wide, narrow): (Vec<_>, Vec<_>) = all.into_iter().partition(|way| way.mtu >= needed);
    let decides = match wide.into_iter().chain(short).min_by_key(|way| way.mtu) {
        Some(narrowest) => narrowest,
        None => narrow.iter().cloned().chain(own).max_by_key(|way| way.mtu)?,
    };
    Some((decides, narrow))
}

fn choose(underlay: u32, needed: Needed, configured: Option<u32>) -> Result<u32, String> {
    let Needed { minimum, overhead, .. } = needed;
    let most = underlay.saturating_sub(overhead);
    if most < minimum {
        return Err(format!(
            "the underlay's MTU of {underlay} leaves {most} bytes for pods, and their addresses \
             need at least {minimum}; raise the MTU of the underlay"
        ));
    }
    match configured {
        Some(mtu) if mtu > most => Err(format!(
            "mtu: {mtu} is more than the underlay carries: {underlay} less {overhead} bytes of \
             outer headers is {most}; leave mtu out to have it derived"
        )),
        Some(mtu) if mtu < minimum => {
            Err(format!("mtu: {mtu} is less than the {minimum} that the pods' addresses need"))
        }
        Some(mtu) => Ok(mtu),
        None => Ok(most),
    }
}

fn nowhere(node: &Node) -> String {
    format!(
        "the VTEP address {} of node {} is on no device of this machine, and no peer is \
         reachable; add the address, or correct that node's VTEP",
        node.vtep, node.name
    )
}

/// What the ways to peers carry: the MTU of the uplink, or of the route if that has a smaller one.
///
/// # Errors
/// A device cannot be looked at.
pub fn ways(
    kernel: &mut dyn Observe,
    peers: &[(IpAddr, Option<Path>)],
) -> Result<Vec<WayMtu>, Error> {
    let mut devices = BTreeMap::new();
    let mut ways = Vec::with_capacity(peers.len());
    for (peer, path) in peers {
        let Some(path) = path else {
            log::info!("no route to VTEP {peer} now; it does not count for the MTU");
            continue;
        };
        let device = match devices.entry(path.dev) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(kernel.link_by_index(path.dev)?),
        };
        let Some(device) = device else { continue };
        let mtu = path.mtu.map_or(device.mtu, |mtu| mtu.min(device.mtu));
        ways.push(WayMtu { mtu, dev: device.dev.name.clone(), toward: Some(*peer) });
    }
    Ok(ways)
}

/// What the device that has the VTEP's address carries. The loopback and a VRF say nothing about the wire.
fn own(kernel: &mut dyn Observe, underlay: &Underlay) -> Result<Option<WayMtu>, Error> {
    let link = match underlay.place.own {
        Some(dev) => kernel.link_by_index(dev)?,
        None => None,
    };
    Ok(link.map(|link| {
        let mtu = if link.dev.name == "lo" || link.is("vrf") { ETHERNET } else { link.mtu };
        WayMtu { mtu, dev: link.dev.name, toward: None }
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    fn file(ranges: &str, vteps: [&str; 3]) -> RangeFile {
        let nodes: Vec<_> = vteps
            .iter()
            .enumerate()
            .map(|(i, vtep)| {
                let ranges = ranges.replace('N', &i.to_string());
                format!(r#"{{"name":"n{i}","vtep":"{vtep}","ranges":[{ranges}]}}"#)
            })
            .collect();
        let text = format!(r#"{{"version":1,"nodes":[{}]}}"#, nodes.join(","));
        RangeFile::parse(FilePath::new("t.json"), text.as_bytes()).unwrap()
    }

    const V4: [&str; 3] = ["192.0.2.1", "192.0.2.2", "198.51.100.3"];
    const V6: [&str; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];

    fn kernel(vteps: [&str; 3], route_mtu: Option<u32>) -> Fake {
        let mut fake = Fake::default();
        let prefix = if vteps[0].contains(':') { 64 } else { 24 };
        let own = format!("{}/{prefix}", vteps[0]);
        let one = fake.add("eth0", 1500, &[&own], LinkKind::Other(String::new()));
        let two = fake.add("eth1", 9000, &[], LinkKind::Other(String::new()));
        fake.paths.insert(vteps[1].parse().unwrap(), Path { dev: two, mtu: None, on_link: true });
        fake.paths
            .insert(vteps[2].parse().unwrap(), Path { dev: one, mtu: route_mtu, on_link: true });
        fake
    }

    /// The overlay's MTU on the `n`th node.
    fn on(
        kernel: &mut Fake,
        file: &RangeFile,
        n: usize,
        set: Option<u32>,
    ) -> Result<OverlayMtu, String> {
        let node = &file.nodes[n];
        let underlay = Underlay::look(kernel, file, node).unwrap();
        decide(kernel, &underlay, node, set).map_err(|e| e.to_string())
    }

    fn derive(vteps: [&str; 3], route: Option<u32>, set: Option<u32>) -> Result<u32, String> {
        let file = file(r#""10.0.N.0/24""#, vteps);
        on(&mut kernel(vteps, route), &file, 0, set).map(|mtu| mtu.pods)
    }

    #[test]
    fn the_narrowest_way_decides() {
        assert_eq!(derive(V4, None, None), Ok(1450));
        assert_eq!(derive(V4, Some(1400), None), Ok(1350));
        assert_eq!(derive(V6, None, None), Ok(1430));
        assert_eq!(derive(V4, None, Some(1000)), Ok(1000));
    }

    #[test]
    fn more_than_the_underlay_carries_is_an_error() {
        let error = derive(V4, None, Some(1451)).unwrap_err();
        assert_eq!(
            error,
            "mtu: 1451 is more than the underlay carries: 1500 less 50 bytes of outer headers is \
             1450; leave mtu out to have it derived"
        );
    }

    #[test]
    fn a_way_that_is_too_narrow_stops_nothing_and_is_told() {
        let file = file(r#""fd00:N::/64""#, V4);
        let mut kernel = kernel(V4, Some(1300));
        let derived = on(&mut kernel, &file, 0, None).unwrap();
        assert_eq!((derived.pods, &derived.by.dev[..]), (8950, "eth1"));
        assert_eq!(
            derived.warnings(&file),
            [
                "the way by eth0 to n2 (198.51.100.3) carries 1300 bytes and not the 1330 bytes (1280 for IPv6 \
              and 50 of outer headers) that are needed: it does not count for the MTU; see `flatnet doctor`"
            ]
        );
        // Where no other suffices, the own device does.
        kernel.paths.remove(&V4[1].parse().unwrap());
        let alone = on(&mut kernel, &file, 0, None).unwrap();
        assert_eq!((alone.pods, alone.by.toward, alone.narrow.len()), (1450, None, 1));
        let set = on(&mut kernel, &file, 0, Some(1290)).unwrap();
        assert_eq!(set.pods, 1290);
        assert!(set.warnings(&file)[0].contains("1340 bytes (mtu: 1290 and 50 of"));
    }

    #[test]
    fn the_own_way_must_suffice() {
        let file = file(r#""fd00:N::/64""#, V4);
        // The other peer is reached by a wide one.
        let mut kernel = kernel(V4, Some(1290));
        kernel.links.get_mut("eth0").unwrap().link.mtu = 1300;
        let error = on(&mut kernel, &file, 0, None).unwrap_err();
        assert!(error.contains("leaves 1250 bytes"), "{error}");
        kernel.links.get_mut("eth0").unwrap().link.mtu = 1420;
        let error = on(&mut kernel, &file, 0, Some(1400)).unwrap_err();
        assert!(error.contains("mtu: 1400 is more than the underlay carries: 1420"), "{error}");
    }

    #[test]
    fn without_peers_the_own_device_decides() {
        let file = file(r#""10.0.N.0/24""#, V4);
        let mut kernel = kernel(V4, None);
        kernel.paths.clear();
        assert_eq!(on(&mut kernel, &file, 0, None).unwrap().pods, 1450);
        kernel.links.clear();
        kernel.add("lo", 65536, &["192.0.2.1/32"], LinkKind::Other(String::new()));
        assert_eq!(on(&mut kernel, &file, 0, None).unwrap().pods, 1450);
        let elsewhere = on(&mut kernel, &file, 1, None).unwrap_err();
        assert!(elsewhere.contains("192.0.2.2 of node n1 is on no device"));
    }
}
