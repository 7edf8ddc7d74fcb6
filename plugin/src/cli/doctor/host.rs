//! Whether hosts that answer no echo requests live, as far as that shows from here: a firewall may drop these alone.
//! Then an error of theirs tells, and on the link that they are asked for their MAC, which no firewall of a host hears of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatnet_conf::Mac;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::cli::echo::Heard;
use crate::cli::{arp, solicitation};
use crate::error::Error;
use crate::kernel::{Link, Observe, Path};

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It answers.
    Answers,
    /// It lives, or nothing is known of it: it is behind a router, or on a link without neighbours.
    Quiet,
    /// Nobody has its address on its link, or a router knows no way to it.
    Gone,
}

/// Looks at hosts to which these paths lead, and which were heard so.
pub fn look(
    kernel: &mut dyn Observe,
    hosts: &[(IpAddr, Option<Path>)],
    heard: &HashMap<IpAddr, Heard>,
) -> Result<Vec<Host>, Error> {
    let mut silent: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for (host, path) in hosts {
        if let Some(path) = path.filter(|path| path.on_link && !speaks(*host, heard.get(host))) {
            silent.entry(path.dev).or_default().push(*host);
        }
    }
    let (mut asked, mut there) = (HashSet::new(), HashSet::new());
    for (dev, hosts) in silent {
        if let Some((link, mac)) = kernel.link_by_index(dev)?.and_then(with_neighbours) {
            // Who cannot ask knows nothing.
            if let Ok(found) = neighbours(&link, &hosts, mac) {
                asked.extend(hosts);
                there.extend(found);
            }
        }
    }
    let on_link = |host| asked.contains(host).then(|| there.contains(host));
    Ok(hosts
        .iter()
        .map(|(host, _)| judge(*host, heard.get(host).copied(), on_link(host)))
        .collect())
}

/// Whether something came from the host itself.
fn speaks(host: IpAddr, heard: Option<&Heard>) -> bool {
    match heard {
        Some(Heard::Reply(_)) => true,
        Some(Heard::Unreachable { by, .. }) => *by == host,
        None => false,
    }
}

/// Whether it was there when its link was asked; `None` if that was not asked.
fn judge(host: IpAddr, heard: Option<Heard>, on_link: Option<bool>) -> Host {
    match (heard, on_link) {
        _ if speaks(host, heard.as_ref()) => Host::Answers,
        (_, Some(true)) => Host::Quiet,
        (_, Some(false)) | (Some(Heard::Unreachable { ends: true, .. }), None) => Host::Gone,
        _ => Host::Quiet,
    }
}

/// A device on whose link hosts are found by their MACs.
fn with_neighbours(link: Link) -> Option<(Link, Mac)> {
    let plain = link.up && link.dev.name != "lo" && !link.is("vrf");
    let devices = getifaddrs().ok()?;
    let silent = devices
        .filter(|entry| entry.interface_name == link.dev.name)
        .any(|entry| entry.flags.contains(InterfaceFlags::IFF_NOARP));
    let mac = link.mac.filter(|_| plain && !silent)?;
    Some((link, mac))
}

/// Those of the hosts that are there.
fn neighbours(link: &Link, hosts: &[IpAddr], mac: Mac) -> Result<HashSet<IpAddr>, Error> {
    let (mut v4, mut v6): (Vec<Ipv4Addr>, Vec<Ipv6Addr>) = Default::default();
    for host in hosts {
        match host {
            IpAddr::V4(host) => v4.push(*host),
            IpAddr::V6(host) => v6.push(*host),
        }
    }
    let mut found = HashSet::new();
    if !v4.is_empty() {
        let answers = arp::who_has(&link.dev.name, &v4, mac)?;
        found.extend(answers.into_iter().map(|(host, _)| IpAddr::V4(host)));
    }
    if !v6.is_empty() {
        let answers = solicitation::who_has(&link.dev, &v6, mac)?;
        found.extend(answers.into_iter().map(IpAddr::V6));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn silence_alone_proves_nothing() {
        let [host, router] = ["192.0.2.2", "192.0.2.254"].map(|text| text.parse().unwrap());
        let told = |by, ends| Some(Heard::Unreachable { by, ends });
        let table = [
            (Some(Heard::Reply(Duration::ZERO)), None, Host::Answers),
            (told(host, false), None, Host::Answers),
            (told(host, true), Some(false), Host::Answers),
            (None, None, Host::Quiet),
            (None, Some(true), Host::Quiet),
            (None, Some(false), Host::Gone),
            (told(router, true), None, Host::Gone),
            (told(router, false), None, Host::Quiet),
            // This node's own firewall, where the host is on the link.
            (told(router, true), Some(true), Host::Quiet),
        ];
        for (heard, on_link, expected) in table {
            assert_eq!(judge(host, heard, on_link), expected, "{heard:?} {on_link:?}");
        }
    }
}
