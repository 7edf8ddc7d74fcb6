//! IPv6 routes beneath those of another program, a plugin that had the pods before.
//!
//! A gateway of ours is in the range that the route is for. Of IPv6 the kernel takes none that a route of another
//! device leads to (`ip6_route_check_nh_onlink`), so while another program has a route to that range, ours is
//! refused, and would not be there when the other goes. The kernel asks only when a route is put. So for that
//! moment a host route leads to the gateway by our device.

use ipnetwork::IpNetwork;

use super::super::{Change, Dev, KernelError, Route, encode};
use super::Netlink;

impl Netlink {
    /// Puts a route once more that was refused, if this may have been the reason; tells whether it stands.
    pub(super) fn put_beneath(&mut self, dev: &Dev, refused: &Change) -> Result<bool, KernelError> {
        let Some(host) = host_route(refused) else { return Ok(false) };
        // The last in any case: a host route that stayed would be one more for each peer.
        let changes = [Change::PutRoute(host.clone()), refused.clone(), Change::DelRoute(host)];
        let mut accepted = true;
        let requests = changes.iter().map(|change| encode::change(dev.index, change));
        self.socket.exchange(requests, |_, answer| accepted &= answer.is_ok())?;
        changes.iter().for_each(|change| log::debug!("{}", change.command(&dev.name)));
        Ok(accepted)
    }
}

/// The host route to the gateway of an IPv6 route that is put on the link.
fn host_route(change: &Change) -> Option<Route> {
    let Change::PutRoute(route) = change else { return None };
    let gateway = route.gateway.filter(|gateway| gateway.is_ipv6() && route.onlink)?;
    let Route { source, metric, .. } = *route;
    Some(Route { dst: IpNetwork::from(gateway), gateway: None, onlink: false, source, metric })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(gateway: Option<&str>, onlink: bool) -> Change {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        let dst = "fd00:2::/64".parse().unwrap();
        Change::PutRoute(Route { dst, gateway, onlink, source: None, metric: Some(7) })
    }

    #[test]
    fn the_host_route_is_as_good_as_the_refused_one() {
        let host = host_route(&put(Some("fd00:2::"), true)).unwrap();
        let words = Change::PutRoute(host).command("flat.7");
        assert_eq!(words, "ip route replace fd00:2::/128 dev flat.7 proto 102 metric 7");
    }

    #[test]
    fn only_a_gateway_on_the_link_is_refused_for_it() {
        assert_eq!(host_route(&put(Some("fd00:2::"), false)), None);
        assert_eq!(host_route(&put(Some("10.1.2.0"), true)), None);
        assert_eq!(host_route(&put(None, true)), None);
    }
}
