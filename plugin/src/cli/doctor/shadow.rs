//! Routes of others that take what ours should: a VPN's, a router's, somebody's `ip route add`.

use std::collections::HashSet;

use ipnetwork::IpNetwork;

use super::finding::{Finding, some};
use super::scene::Scene;
use crate::cli::drift::Peers;
use crate::desired;
use crate::error::Error;
use crate::kernel::{Change, Kernel as _, Route};

/// Compares everybody's routes with those to the peers.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let site = &scene.look.site;
    let adjacent = scene.underlay.adjacent();
    let want = desired::overlay(&scene.conf.name, site.file(), &site.node, scene.mtu, &adjacent);
    let peers = Peers::of(site.file(), &site.node);
    let kernel = &mut scene.look.kernel;
    let ours: HashSet<_> = kernel.our_routes()?.into_iter().collect();
    let mut findings = Vec::new();
    for link in kernel.links()? {
        let index = link.dev.index;
        let others = kernel.routes(index)?.into_iter();
        for route in others.filter(|route| !ours.contains(&(index, route.clone()))) {
            let taken: Vec<_> = want
                .routes
                .iter()
                .filter(|(_, ours)| takes(&route, ours))
                .map(|(_, ours)| peers.of_change(&Change::PutRoute(ours.clone())).unwrap_or("?"))
                .collect();
            // It may be in a table that no rule leads to: what the kernel does decides.
            if !taken.is_empty() && kernel.our_route(route.dst.network())?.is_none() {
                findings.push(judge(&link.dev.name, &route, &taken));
                scene.explained.extend(taken.into_iter().map(str::to_owned));
            }
        }
    }
    Ok(findings)
}

/// Whether a stranger's route wins over ours for some of its destinations.
fn takes(other: &Route, ours: &Route) -> bool {
    // The default route is within nobody's; one that is wider than ours never wins.
    let within = |narrow: IpNetwork, wide: IpNetwork| {
        narrow.is_ipv4() == wide.is_ipv4() && wide.contains(narrow.network())
    };
    if other.dst == ours.dst {
        return other.metric.unwrap_or(0) < ours.metric.unwrap_or(0);
    }
    other.dst.prefix() > ours.dst.prefix() && within(other.dst, ours.dst)
}

fn judge(dev: &str, route: &Route, peers: &[&str]) -> Finding {
    let gateway = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let metric = route.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
    let words = format!("{}{gateway} dev {dev}{metric}", route.dst);
    Finding::run(
        format!("packets to {} of {} take somebody's route: {words}", route.dst, some(peers)),
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
        let found = judge("eth0", &other, &["b"]);
        let run = "ip route del 10.1.2.0/25 via 192.0.2.9 dev eth0 metric 5";
        assert_eq!(found.mend, super::super::finding::Mend::Run(run.into()));
    }
}
