//! Whether packets as large as pods may send them make the round trip to each peer.

use std::collections::HashMap;
use std::net::IpAddr;

use super::scene::Scene;
use crate::cli::ask::ask;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::overlay::mtu::overhead;

/// What everything carries: RFC 791, RFC 8200.
const LEAST: [u32; 2] = [68, 1280];

/// Asks each peer that has answered small packets by full ones; where those are not answered, looks
/// for the size that is.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    // One address of each: the way underneath is the same for both families.
    let peers: HashMap<IpAddr, &str> = scene
        .unexplained()
        .filter_map(|peer| Some((*scene.shared_addresses(peer).first()?, &peer.name[..])))
        .collect();
    // What the pods send by now, and what they should.
    let size = scene.overlay.as_ref().map_or(scene.mtu, |link| link.mtu.min(scene.mtu));
    let all: Vec<IpAddr> = peers.keys().copied().collect();
    let large = ask(&all, Some(size))?;
    let mut lost: Vec<(&str, IpAddr)> =
        all.iter().filter(|to| !large.contains_key(to)).map(|to| (peers[to], *to)).collect();
    lost.sort();
    let Some((_, first)) = lost.first() else { return Ok(Vec::new()) };
    let carried = largest(LEAST[usize::from(first.is_ipv6())], size, |size| {
        Ok::<_, Error>(ask(&[*first], Some(size))?.contains_key(first))
    })?;
    let names: Vec<&str> = lost.iter().map(|(name, _)| *name).collect();
    let overhead = overhead(&scene.look.site.node);
    let mend = scene.author.plugin_setting(&format!("\"mtu\": {carried}"), &scene.conf.name);
    Ok(vec![judge(size, carried, overhead, &names, &mend)])
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
