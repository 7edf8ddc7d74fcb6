//! Whether packets as large as pods may send them make the round trip to each peer, and to which peers they cannot.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::scene::Scene;
use crate::cli::ask::ask;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::Observe as _;
use crate::overlay::mtu::{self, Needed, WayMtu};

/// What everything carries: RFC 791, RFC 8200.
const LEAST: [u32; 2] = [68, 1280];

/// Asks each peer that has answered small packets by full ones; where those are not answered, looks
/// for the size that is.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let narrow = narrow(scene)?;
    let mut findings = too_narrow(scene, &narrow);
    let narrow: HashSet<IpAddr> = narrow.iter().filter_map(|way| way.toward).collect();
    // One address of each: the way underneath is the same for both families.
    let peers: HashMap<IpAddr, &str> = scene
        .unexplained()
        .filter(|peer| !narrow.contains(&peer.vtep))
        .filter_map(|peer| Some((*scene.shared_addresses(peer).first()?, &peer.name[..])))
        .collect();
    // What the pods send by now, and what they should.
    let size = scene.overlay.as_ref().map_or(scene.mtu.pods, |link| link.mtu.min(scene.mtu.pods));
    let all: Vec<IpAddr> = peers.keys().copied().collect();
    let large = ask(&all, Some(size))?;
    let mut lost: Vec<(&str, IpAddr)> =
        all.iter().filter(|to| !large.contains_key(to)).map(|to| (peers[to], *to)).collect();
    lost.sort();
    let Some((_, first)) = lost.first() else { return Ok(findings) };
    let carried = largest(LEAST[usize::from(first.is_ipv6())], size, |size| {
        Ok::<_, Error>(ask(&[*first], Some(size))?.contains_key(first))
    })?;
    let names: Vec<&str> = lost.iter().map(|(name, _)| *name).collect();
    let overhead = scene.mtu.needed.overhead;
    let mend = scene.author.plugin_setting(&format!("\"mtu\": {carried}"), &scene.conf.name);
    findings.push(judge(size, carried, overhead, &names, &mend));
    Ok(findings)
}

/// The ways that are too narrow to count for the overlay's MTU, one for each peer.
fn narrow(scene: &mut Scene<'_>) -> Result<Vec<WayMtu>, Error> {
    if scene.mtu.narrow.is_empty() {
        return Ok(Vec::new());
    }
    let Scene { look, underlay, mtu, .. } = scene;
    let peers = look.site.file().nodes.iter().filter(|peer| peer.name != look.site.node.name);
    let vteps: Vec<IpAddr> = peers.map(|peer| peer.vtep).collect();
    let paths = look.kernel.paths(&vteps, &underlay.place.flow)?;
    let paths: Vec<_> = vteps.into_iter().zip(paths).collect();
    let mut ways = mtu::ways(&mut look.kernel, &paths)?;
    ways.retain(|way| way.mtu < mtu.needed.total());
    Ok(ways)
}

/// A finding for each device, and each MTU of routes by it.
fn too_narrow(scene: &Scene<'_>, ways: &[WayMtu]) -> Vec<Finding> {
    let nodes = scene.look.site.file().nodes.iter();
    let names: HashMap<IpAddr, &str> = nodes.map(|node| (node.vtep, &node.name[..])).collect();
    let named = |vtep: IpAddr| Some(format!("{} ({vtep})", names.get(&vtep)?));
    let needed = &scene.mtu.needed;
    let vtep = scene.author.vtep(&scene.range_file());
    let findings = mtu::alike(ways).into_iter().map(|((dev, carried), vteps)| {
        let peers: Vec<String> = vteps.into_iter().filter_map(named).collect();
        let less = carried.saturating_sub(needed.overhead);
        let key = format!("\"mtu\": {less}");
        let less = (less >= needed.minimum)
            .then(|| format!("; or {}", scene.author.plugin_setting(&key, &scene.conf.name)));
        let mend = format!("{vtep}{}", less.unwrap_or_default());
        narrow_way(dev, carried, scene.mtu.pods, needed, &peers, &mend)
    });
    findings.collect()
}

fn narrow_way(
    dev: &str,
    carried: u32,
    size: u32,
    needed: &Needed,
    peers: &[String],
    mend: &str,
) -> Finding {
    Finding::advise(
        format!(
            "too narrow: the way by {dev} to {} carries {carried} bytes and not the {needed} that are needed",
            some(peers)
        ),
        format!(
            "the MTU of {size} does not go by that way: larger packets than fit are cut there, or lost, and \
             connections hang"
        ),
        format!("let {dev}, and the route there, carry {} bytes; or {mend}", needed.total()),
    )
}

/// The largest size that passes, of those from `least`, which does, to below `most`, which does not.
fn largest<E>(
    least: u32,
    most: u32,
    mut passes: impl FnMut(u32) -> Result<bool, E>,
) -> Result<u32, E> {
    let (mut good, mut bad) = (least, most.max(least + 1));
    while good + 1 < bad {
        let middle = good + (bad - good) / 2;
        if passes(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn judge(size: u32, carried: u32, overhead: u32, peers: &[&str], mend: &str) -> Finding {
    let (names, outer) = (some(peers), carried + overhead);
    Finding::advise(
        format!(
            "wrong MTU: packets of {size} bytes do not make the way to {names} and back, those of \
             {carried} do"
        ),
        format!(
            "the network between carries {outer} bytes and not the {} that this node's routes say: \
             connections start and then hang",
            size + overhead
        ),
        format!("{mend}; or let the network between carry {} bytes", size + overhead),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_at_the_largest() {
        for limit in [68, 69, 1_000, 1_348, 1_449] {
            let found = largest(68, 1450, |size| Ok::<_, ()>(size <= limit));
            assert_eq!(found, Ok(limit));
        }
        assert_eq!(largest(1280, 1280, |_| Ok::<_, ()>(false)), Ok(1280));
    }

    #[test]
    fn a_narrow_way_is_named_with_what_it_lacks() {
        let needed = Needed { pods: 1280, minimum: 1280, overhead: 50 };
        let found = narrow_way("tun0", 1280, 1450, &needed, &["x (100.64.9.9)".into()], "mend it");
        assert_eq!(
            found.words(),
            "too narrow: the way by tun0 to x (100.64.9.9) carries 1280 bytes and not the 1330 bytes (1280 for \
             IPv6 and 50 of outer headers) that are needed; let tun0, and the route there, carry 1330 bytes; or \
             mend it"
        );
    }

    #[test]
    fn the_finding_says_what_passes() {
        let found = judge(1450, 1350, 50, &["b", "c"], "set it");
        assert!(
            found.what.starts_with("wrong MTU: packets of 1450 bytes do not"),
            "{}",
            found.what
        );
        assert!(found.why.contains("carries 1400 bytes and not the 1500"), "{}", found.why);
    }
}
