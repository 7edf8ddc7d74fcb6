//! Whether packets like this one may take the fast path, and where tcpdump sees them then.

use super::walk::{Stop, Walk};
use crate::kernel::Observe as _;
use crate::overlay::fast_path::{Obstacle, Report, is_wanted};

const AT: &str = "fast path";

/// How the usual way goes on from the node's routing decision.
pub enum Onward<'a> {
    /// To another pod of this node, behind this device.
    Pod(&'a str),
    /// To another node, by the overlay's device of this name.
    Overlay(&'a str),
    /// To another node, not encapsulated.
    Direct,
}

/// Tells it, where one is configured.
///
/// # Errors
/// The kernel cannot be asked.
pub fn tell(walk: &mut Walk<'_>, onward: &Onward<'_>) -> Result<(), Stop> {
    let conf = walk.conf();
    if !is_wanted(conf) {
        return Ok(());
    }
    let is_translated = walk.hops.iter().any(|hop| hop.at == "NAT");
    let veth = walk.lease.attachment.veth.clone();
    let look = walk.look();
    let vni = look.site.vni();
    let report = Report::of(&mut look.kernel, conf, vni)?;
    let mut devices = vec![&veth[..]];
    if let Onward::Pod(other) = onward {
        devices.push(other);
    }
    let mut obstacle = None;
    for dev in devices {
        let Some(link) = look.kernel.link(dev)? else { continue };
        let filters = look.kernel.filters(link.dev.index)?;
        match Obstacle::on_device(&filters) {
            Some(why) => obstacle = Some(format!("not here, {dev}: {why}")),
            None if filters.programs(true).is_none() => {
                obstacle = Some(format!("not here: {dev} has no filters of it"));
            }
            None => {}
        }
    }
    let words = match (&report.stands, obstacle) {
        (None, _) => match report.obstacle {
            Some(why) => format!("none: {why}"),
            None => "none: it is not brought about yet (flatnet sync)".to_owned(),
        },
        (_, Some(obstacle)) => obstacle,
        _ if is_translated => "not of this: NAT leads it".to_owned(),
        (Some(stands), None) => seen(&veth, onward, &stands.uplinks),
    };
    walk.passes(AT, words);
    Ok(())
}

/// Which devices show packets of an established flow that was learned.
fn seen(veth: &str, onward: &Onward<'_>, uplinks: &[String]) -> String {
    let flow = "of a TCP or UDP flow with answers: past filters and routes from";
    match onward {
        Onward::Pod(other) => {
            format!(
                "{flow} {veth} into the pod; tcpdump shows it on {veth} and in the pods, not on {other}"
            )
        }
        Onward::Overlay(overlay) if uplinks.is_empty() => {
            format!("{flow} {veth} to {overlay}; tcpdump shows it on both")
        }
        Onward::Overlay(overlay) => {
            let uplinks = uplinks.join(" or ");
            format!(
                "{flow} {veth} to {uplinks}, encapsulated; tcpdump shows it on both, not on {overlay}"
            )
        }
        Onward::Direct => "not of this: it is not encapsulated (directRouting)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_seen_depends_on_how_it_goes() {
        let uplinks = ["eth0".to_owned()];
        for (onward, uplinks, words) in [
            (
                Onward::Pod("vb"),
                &uplinks[..],
                "from va into the pod; tcpdump shows it on va and in the pods, not on vb",
            ),
            (
                Onward::Overlay("flat.7"),
                &uplinks,
                "from va to eth0, encapsulated; tcpdump shows it on both, not on flat.7",
            ),
            (Onward::Overlay("flat.7"), &[], "from va to flat.7; tcpdump shows it on both"),
            (Onward::Direct, &uplinks, "not of this: it is not encapsulated (directRouting)"),
        ] {
            let told = seen("va", &onward, uplinks);
            assert!(told.ends_with(words), "{told}");
        }
    }
}
