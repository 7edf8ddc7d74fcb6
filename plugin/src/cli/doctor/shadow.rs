//! Routes of others that take what ours should: a VPN's, a router's, an `ip route add` by hand; and
//! rules that lead to another table before ours is asked.

use std::collections::{BTreeMap, HashSet};

use ipnetwork::IpNetwork;

use super::scene::Scene;
use super::source;
use crate::cli::drift::{Peers, past_other_tables};
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Change, DeadEnd, Flow, Observe, Route};
use crate::overlay::dead_end;
use crate::overlay::desired::{self, Via};

/// Compares everybody's routes with those to the peers.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let site = &scene.look.site;
    let adjacent = scene.underlay.adjacent();
    let want =
        desired::overlay(&scene.conf.name, site.file(), &site.node, scene.mtu.pods, &adjacent);
    let peers = Peers::of(site.file(), &site.node);
    let kernel = &mut scene.look.kernel;
    let mut findings = Vec::new();
    for other in others(kernel)? {
        let taken: Vec<&Route> =
            want.routes.iter().map(|(_, ours)| ours).filter(|ours| other.takes(ours)).collect();
        let Some(first) = taken.first() else { continue };
        let narrower = if other.dst.prefix() > first.dst.prefix() { other.dst } else { first.dst };
        // It may be in a table that no rule leads to: what the kernel does decides.
        if kernel.our_route(narrower.network())?.is_none() {
            let name = |ours: &&Route| peers.of_change(&Change::PutRoute((*ours).clone()));
            let taken: Vec<_> = taken.iter().map(|ours| name(ours).unwrap_or("?")).collect();
            findings.push(judge(&other, &taken));
            scene.explained.extend(taken.into_iter().map(str::to_owned));
        }
    }
    findings.extend(diverted(scene, &want.routes)?);
    findings.extend(source::check(scene)?);
    Ok(findings)
}

/// Another program's route.
struct Other {
    dst: IpNetwork,
    /// As ip(8) has it.
    words: String,
    leads: Leads,
}

/// Where it leads.
enum Leads {
    Somewhere(Route),
    Nowhere(DeadEnd),
}

impl Other {
    /// Whether it wins over ours for some of its destinations.
    fn takes(&self, ours: &Route) -> bool {
        match &self.leads {
            Leads::Somewhere(route) => takes(route, ours),
            Leads::Nowhere(end) => dead_end::takes(end, ours.dst, ours.metric.unwrap_or(0)),
        }
    }
}

fn others(kernel: &mut dyn Observe) -> Result<Vec<Other>, Error> {
    let ours: HashSet<_> = kernel.our_routes()?.routes.into_iter().collect();
    let mut others = Vec::new();
    for link in kernel.links()? {
        let index = link.dev.index;
        let routes = kernel.routes(index)?.into_iter();
        for route in routes.filter(|route| !ours.contains(&(index, route.clone()))) {
            let words = words(&link.dev.name, &route);
            others.push(Other { dst: route.dst, words, leads: Leads::Somewhere(route) });
        }
    }
    for end in kernel.dead_ends()? {
        let words = dead_end::words(&end);
        others.push(Other { dst: end.dst, words, leads: Leads::Nowhere(end) });
    }
    Ok(others)
}

/// What becomes of packets for which no other route explains that they do not take ours.
fn diverted(scene: &mut Scene<'_>, want: &[(Via, Route)]) -> Result<Vec<Finding>, Error> {
    let file = scene.look.site.file();
    let peers = Peers::of(file, &scene.look.site.node);
    let mut by: BTreeMap<(bool, Option<u32>), Vec<String>> = BTreeMap::new();
    for (_, route) in want {
        let peer = peers.of_change(&Change::PutRoute(route.clone())).unwrap_or("?");
        let to = route.dst.network();
        let kernel = &mut scene.look.kernel;
        if scene.explained.contains(peer) || matches!(kernel.our_route(to), Ok(Some(_))) {
            continue;
        }
        let path = kernel.paths(&[to], &Flow::default())?.into_iter().flatten().next();
        let way = (to.is_ipv6(), path.map(|path| path.dev));
        by.entry(way).or_default().push(peer.to_owned());
    }
    let mut findings = Vec::new();
    for ((ipv6, dev), taken) in by {
        let link = dev.map(|dev| scene.look.kernel.link_by_index(dev)).transpose()?.flatten();
        let mend = past_other_tables(file, ipv6);
        findings.push(elsewhere(link.as_ref().map(|link| &link.dev.name[..]), &taken, mend));
        scene.explained.extend(taken);
    }
    Ok(findings)
}

fn elsewhere(dev: Option<&str>, peers: &[String], mend: String) -> Finding {
    let way = dev.map_or("are dropped".to_owned(), |dev| format!("leave by {dev}"));
    Finding::run(
        format!(
            "packets to the pods of {} {way}: a rule leads them to another table before the main one \
             (`ip rule`)",
            some(peers)
        ),
        "they do not reach the pods there",
        mend,
    )
}

/// Whether another program's route wins over ours for some of its destinations.
fn takes(other: &Route, ours: &Route) -> bool {
    // The default route is within none of ours; one that is wider than ours never wins.
    let within = |narrow: IpNetwork, wide: IpNetwork| {
        narrow.is_ipv4() == wide.is_ipv4() && wide.contains(narrow.network())
    };
    if other.dst == ours.dst {
        return other.metric.unwrap_or(0) < ours.metric.unwrap_or(0);
    }
    other.dst.prefix() > ours.dst.prefix() && within(other.dst, ours.dst)
}

fn words(dev: &str, route: &Route) -> String {
    let gateway = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let metric = route.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
    format!("{}{gateway} dev {dev}{metric}", route.dst)
}

fn judge(other: &Other, peers: &[&str]) -> Finding {
    let Other { dst, words, .. } = other;
    Finding::run(
        format!("packets to {dst} of {} take another program's route: {words}", some(peers)),
        "they do not reach the pods there",
        format!("ip route del {words}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(dst: &str, metric: Option<u32>) -> Route {
        Route { dst: dst.parse().unwrap(), gateway: None, onlink: true, source: None, metric }
    }

    #[test]
    fn narrower_or_better_wins() {
        let ours = route("10.1.2.0/24", Some(1_000));
        for (dst, metric, wins) in [
            ("10.1.2.0/24", None, true),
            ("10.1.2.0/24", Some(2_000), false),
            ("10.1.2.128/25", Some(2_000), true),
            ("10.1.3.0/25", None, false),
            ("10.1.0.0/16", None, false),
            ("0.0.0.0/0", None, false),
            ("fd00::/64", None, false),
        ] {
            assert_eq!(takes(&route(dst, metric), &ours), wins, "{dst} {metric:?}");
        }
    }

    #[test]
    fn the_mend_names_the_route_and_no_other() {
        let mut other = route("10.1.2.0/25", Some(5));
        other.gateway = Some("192.0.2.9".parse().unwrap());
        let words = words("eth0", &other);
        let found = judge(&Other { dst: other.dst, words, leads: Leads::Somewhere(other) }, &["b"]);
        let run = "ip route del 10.1.2.0/25 via 192.0.2.9 dev eth0 metric 5";
        assert_eq!(found.mend, crate::cli::finding::Mend::Run(run.into()));
    }
}
