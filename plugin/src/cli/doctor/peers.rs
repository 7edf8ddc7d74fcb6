//! Peers that do not answer, and as far as that shows from here, why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatnet_conf::{Node, Range};

use super::host::{self, Host};
use super::refusal::refused;
use super::reverse_path::{self, Silent};
use super::scene::Scene;
use crate::author::Author;
use crate::cli::ask::{ask, hear};
use crate::cli::asker::Asker;
use crate::cli::echo::{Heard, TRIES};
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Observe as _, Path};

/// No more silent peers are looked at closer than this: each that is dead and on the link fills an
/// entry of the kernel's table of neighbours, which has room for some thousand.
const EXAMINED: usize = 64;
const WHY: &str = "no pod of this node reaches the pods there";

/// What one peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    vtep: IpAddr,
    /// Its addresses on the overlay that did not answer.
    silent: Vec<IpAddr>,
    /// Whether another one did.
    some: bool,
    /// The way to its VTEP; `None` if there is none.
    path: Option<Path>,
    /// Whether it was looked at closer: only then does the rest say something.
    examined: bool,
    /// Whether its pods are routed to without the overlay.
    direct: bool,
    /// What is known of it at its VTEP.
    host: Host,
    /// Whether the overlay's UDP port was refused (ICMP port unreachable).
    refused: bool,
}

/// Why a peer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    OneFamily,
    NoRoute,
    Refused,
    Direct,
    Blocked,
    Quiet,
    Dead,
    Unexamined,
}

/// Asks every peer over the overlay, and those that are silent in other ways.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let dropped = reverse_path::dropped();
    let port = scene.look.site.file().port;
    let mut seen = silent_over_overlay(scene)?;
    scene.explained.extend(seen.iter().map(|seen| seen.name.clone()));
    let most = seen.len().min(EXAMINED);
    examine(scene, &mut seen[..most], port)?;

    let dropped = reverse_path::dropped().saturating_sub(dropped);
    let strict = reverse_path::strict(&mut scene.look.kernel)?;
    let uplink = |seen: &Seen| seen.path.map(|path| path.dev);
    let silent: Vec<_> = seen
        .iter()
        .filter(|seen| seen.examined && !seen.some)
        .map(|seen| Silent { name: &seen.name, vtep: seen.vtep, uplink: uplink(seen) })
        .collect();
    let own = scene.underlay.place.own;
    if let Some(finding) = reverse_path::judge(dropped, TRIES.into(), &strict, own, &silent) {
        return Ok(vec![finding]);
    }
    let own = scene.look.site.node.vtep;
    let words = Words { port, own, author: scene.author, file: scene.range_file() };
    let mut causes: BTreeMap<Cause, Vec<&Seen>> = BTreeMap::new();
    for seen in &seen {
        causes.entry(cause(seen)).or_default().push(seen);
    }
    Ok(causes.iter().map(|(cause, peers)| words.judge(*cause, peers)).collect())
}

/// The peers of which an address on the overlay does not answer, nor anything else comes from there. Those that only
/// answer no echo requests count as explained.
fn silent_over_overlay(scene: &mut Scene<'_>) -> Result<Vec<Seen>, Error> {
    let all = scene.unexplained().map(|peer| Seen {
        name: peer.name.clone(),
        vtep: peer.vtep,
        silent: scene.shared_addresses(peer),
        some: false,
        path: None,
        examined: false,
        direct: false,
        host: Host::Quiet,
        refused: false,
    });
    let mut seen: Vec<Seen> = all.collect();
    let asked: Vec<IpAddr> = seen.iter().flat_map(|seen| seen.silent.clone()).collect();
    let answers = ask(&asked, None)?;
    let silent = asked.into_iter().filter(|address| !answers.contains_key(address)).collect();
    let carried = carried(scene, &silent)?;
    for seen in &mut seen {
        if seen.silent.iter().any(|address| carried.contains(address)) {
            scene.explained.insert(seen.name.clone());
        }
        let before = seen.silent.len();
        seen.silent.retain(|address| silent.contains(address) && !carried.contains(address));
        seen.some = seen.silent.len() < before;
    }
    seen.retain(|seen| !seen.silent.is_empty());
    Ok(seen)
}

/// Those of the silent addresses whose node says over the overlay that it has no pod where none can be: its firewall may
/// drop echo requests, but what is for pods arrives, and what they send comes back.
fn carried(scene: &Scene<'_>, silent: &BTreeSet<IpAddr>) -> Result<BTreeSet<IpAddr>, Error> {
    let nobodys: BTreeMap<IpAddr, IpAddr> = scene
        .unexplained()
        .flat_map(nobodys)
        .filter(|(_, address)| silent.contains(address))
        .collect();
    let asked: Vec<IpAddr> = nobodys.keys().copied().collect();
    let heard = hear(&asked, &Asker::default())?;
    let there = |(to, address): &(IpAddr, IpAddr)| match heard.get(to) {
        Some(Heard::Reply(_)) => true,
        Some(Heard::Unreachable { by, .. }) => by == address,
        None => false,
    };
    Ok(nobodys.into_iter().filter(there).map(|(_, address)| address).collect())
}

/// The last address of each range of a peer that begins with one of its own, and that one. No pod has the last of IPv4,
/// and hardly ever one that of IPv6.
fn nobodys(peer: &Node) -> Vec<(IpAddr, IpAddr)> {
    let own = peer.vtep_addresses();
    let subnets = peer.ranges.iter().map(Range::subnet);
    let ends = subnets.map(|subnet| (subnet.broadcast(), subnet.network()));
    ends.filter(|(_, first)| own.contains(first)).collect()
}

/// Asks them in other ways.
fn examine(scene: &mut Scene<'_>, seen: &mut [Seen], port: u16) -> Result<(), Error> {
    let direct = scene.look.site.file().direct_routing;
    let vteps: Vec<IpAddr> = seen.iter().map(|seen| seen.vtep).collect();
    let place = &scene.underlay.place;
    let paths = scene.look.kernel.paths(&vteps, &place.flow)?;
    let heard = hear(&vteps, &Asker::at(place))?;
    let asked: Vec<_> = vteps.into_iter().zip(paths).collect();
    let hosts = host::look(&mut scene.look.kernel, &asked, &heard)?;
    let of = |kind| {
        let found = asked.iter().zip(&hosts).filter(move |(_, host)| **host == kind);
        found.map(|((vtep, _), _)| *vtep)
    };
    let alive: Vec<IpAddr> = of(Host::Answers).chain(of(Host::Quiet)).collect();
    let refused = refused(&alive, port, &Asker::at(place));
    for ((seen, (vtep, path)), host) in seen.iter_mut().zip(asked).zip(hosts) {
        seen.examined = true;
        seen.path = path;
        seen.direct = direct && path.is_some_and(|path| path.on_link);
        seen.host = host;
        seen.refused = refused.contains(&vtep);
    }
    Ok(())
}

fn cause(seen: &Seen) -> Cause {
    match seen {
        Seen { examined: false, .. } => Cause::Unexamined,
        Seen { some: true, .. } => Cause::OneFamily,
        Seen { path: None, .. } => Cause::NoRoute,
        Seen { host: Host::Gone, .. } => Cause::Dead,
        Seen { host: Host::Quiet, refused: false, .. } => Cause::Quiet,
        Seen { direct: true, .. } => Cause::Direct,
        Seen { refused: true, .. } => Cause::Refused,
        _ => Cause::Blocked,
    }
}

/// What all findings speak of.
struct Words {
    port: u16,
    own: IpAddr,
    author: Author,
    file: String,
}

impl Words {
    fn judge(&self, cause: Cause, peers: &[&Seen]) -> Finding {
        let Self { port, own, author, file } = self;
        let bare: Vec<&str> = peers.iter().map(|seen| &seen.name[..]).collect();
        let names: Vec<_> =
            peers.iter().map(|seen| format!("{} ({})", seen.name, seen.vtep)).collect();
        let names = some(&names);
        let addresses: Vec<_> =
            peers.iter().flat_map(|seen| &seen.silent).map(ToString::to_string).collect();
        let addresses = some(&addresses);
        match cause {
            Cause::OneFamily => Finding::advise(
                format!("only one family answers over the overlay: not {addresses} of {names}"),
                "pods reach the pods there in one family only",
                "run `flatnet doctor` there",
            ),
            Cause::NoRoute => Finding::advise(
                format!("there is no route to the VTEP of {names}"),
                WHY,
                format!("give this node a route there, or {}", author.vtep(file)),
            ),
            Cause::Refused => Finding::advise(
                format!("UDP port {port} is refused by {names}"),
                WHY,
                format!(
                    "{}; or let the firewall there accept UDP port {port} from {own}",
                    author.stand_there()
                ),
            ),
            Cause::Direct => Finding::advise(
                format!("no answer by the direct route, but at the VTEP, from {names}"),
                WHY,
                format!(
                    "run `flatnet sync` there; if the network between lets no packets with pods' addresses \
                     through, {}",
                    author.setting("take directRouting out of", file)
                ),
            ),
            Cause::Blocked => Finding::advise(
                format!(
                    "UDP port {port} is blocked, or the range files differ: no answer over the \
                     overlay, but at the VTEP, from {names}"
                ),
                "no pod of this node reaches the pods there, unless a firewall drops ICMP on the overlay only",
                format!(
                    "let the firewalls there, here and between accept UDP port {port} (there: \
                     `iptables -I INPUT -p udp --dport {port} -s {own} -j ACCEPT`); if they do, {}",
                    author.same_there(file)
                ),
            ),
            Cause::Quiet => Finding::advise(
                format!(
                    "no answer to echo requests from {names} (a host firewall, here or there, may drop them; pods \
                     may reach each other all the same)"
                ),
                "whether pods of this node reach the pods there cannot be told from here",
                format!(
                    "let a pod here ask one there; if none answers, see whether that node runs, and let the \
                     firewalls there, here and between accept UDP port {port}; let them accept ICMP, too, and \
                     this check can tell"
                ),
            ),
            Cause::Dead => Finding::advise(
                format!("dead or cut off: no answer at the VTEP nor over the overlay from {names}"),
                WHY,
                author.gone(&bare, file),
            ),
            Cause::Unexamined => Finding::advise(
                format!("no answer over the overlay from {names}; they were not looked at closer"),
                WHY,
                "mend what is found first",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_peer_is_silent() {
        let path = Path { dev: 1, mtu: None, on_link: true };
        let silent = Seen {
            name: "b".into(),
            vtep: "192.0.2.2".parse().unwrap(),
            silent: vec!["10.1.2.0".parse().unwrap()],
            some: false,
            path: Some(path),
            examined: true,
            direct: false,
            host: Host::Answers,
            refused: false,
        };
        let table = [
            (silent.clone(), Cause::Blocked),
            (Seen { host: Host::Gone, ..silent.clone() }, Cause::Dead),
            (Seen { host: Host::Quiet, ..silent.clone() }, Cause::Quiet),
            (Seen { host: Host::Quiet, direct: true, ..silent.clone() }, Cause::Quiet),
            (Seen { host: Host::Quiet, refused: true, ..silent.clone() }, Cause::Refused),
            (Seen { path: None, host: Host::Gone, ..silent.clone() }, Cause::NoRoute),
            (Seen { refused: true, ..silent.clone() }, Cause::Refused),
            (Seen { direct: true, ..silent.clone() }, Cause::Direct),
            (Seen { some: true, ..silent.clone() }, Cause::OneFamily),
            (Seen { examined: false, ..silent.clone() }, Cause::Unexamined),
        ];
        for (seen, expected) in &table {
            assert_eq!(cause(seen), *expected, "{seen:?}");
        }
        let (own, author) = ("192.0.2.1".parse().unwrap(), Author::Operator);
        let words = Words { port: 4789, own, author, file: "/f".into() };
        let many = words.judge(Cause::Dead, &[&silent; 5]).what;
        assert!(many.ends_with("b (192.0.2.2), b (192.0.2.2) and 2 more"), "{many}");
        let quiet = words.judge(Cause::Quiet, &[&silent]);
        assert!(
            quiet.what.starts_with("no answer to echo requests from b (192.0.2.2)"),
            "{quiet:?}"
        );
        assert!(!quiet.words().contains("/f"), "nothing is to be taken out: {quiet:?}");
        let half = words.judge(Cause::OneFamily, &[&silent]).what;
        assert!(half.ends_with("not 10.1.2.0 of b (192.0.2.2)"), "{half}");
    }

    #[test]
    fn where_no_pod_can_be() {
        let text = r#"{"version":1,"nodes":[{"name":"b","vtep":"192.0.2.2",
            "ranges":["10.1.2.0/24","fd00:1::/64","10.1.3.0/24"]}]}"#;
        let file = flatnet_conf::RangeFile::parse("f".as_ref(), text.as_bytes()).unwrap();
        let pairs = [("10.1.2.255", "10.1.2.0"), ("fd00:1::ffff:ffff:ffff:ffff", "fd00:1::")];
        let pairs = pairs.map(|(last, first)| (last.parse().unwrap(), first.parse().unwrap()));
        assert_eq!(nobodys(&file.nodes[0]), pairs);
    }
}
