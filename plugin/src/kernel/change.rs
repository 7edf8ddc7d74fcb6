//! What can be changed about one device, each with its `ip` equivalent as its text.

use std::fmt;
use std::net::IpAddr;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::traffic::{clsact_command, filter_command};
use super::{FINISHED, FdbEntry, Filter, Hook, Neighbour, Route, Unreachable};

/// One change to a device or to what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Switches the device on.
    Up,
    /// Sets the MTU, in bytes.
    Mtu(u32),
    /// Sets the MAC.
    Mac(Mac),
    /// Sets the alias: free text for people (`ifalias`).
    Alias(String),
    /// Ends the making of a veth: from now on its alias counts.
    Finish,
    /// Puts the device into a group (`IFLA_GROUP`).
    Group(u32),
    /// IPv4 settings of the device: forwarding of what comes in, and reverse-path filter.
    Forward(ReversePath),
    /// No automatic link-local address: no pod speaks to the node's end by one, and making it
    /// costs a fifth of an ADD. A kernel without IPv6 has nothing to switch off.
    NoLinkLocal,
    /// Adds an address; an IPv6 one is usable at once (no duplicate address detection).
    AddAddress(IpNetwork),
    /// Removes an address.
    DelAddress(IpNetwork),
    /// Adds a route; one with the same destination and metric is an error.
    AddRoute(Route),
    /// Adds a route, in the place of one with the same destination and metric if there is one.
    PutRoute(Route),
    /// Removes a route.
    DelRoute(Route),
    /// Adds a route that ends what it takes, whatever the device, in the place of one with the same
    /// destination and metric if there is one.
    PutUnreachable(Unreachable),
    /// Removes such a route, whatever the device.
    DelUnreachable(Unreachable),
    /// Adds or replaces a permanent neighbour entry.
    PutNeighbour(Neighbour),
    /// Removes a neighbour entry.
    DelNeighbour(IpAddr),
    /// Adds or replaces a FDB entry.
    PutFdb(FdbEntry),
    /// Removes a FDB entry.
    DelFdb(FdbEntry),
    /// Adds a place for filters; one that is there will do.
    AddClsact,
    /// Removes the place for filters.
    DelClsact,
    /// Puts a filter in our place.
    PutFilter(Filter),
    /// Removes what is in our place.
    DelFilter(Hook),
}

/// A device's reverse-path filter (`rp_filter`). In force is the larger number of the device's and that of
/// `all` (Documentation/networking/ip-sysctl.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// A source address must be routed back to this device.
    Strict = 1,
    /// It must be routed anywhere, whatever `all` says.
    Loose = 2,
}

impl Change {
    /// The change in the words of ip(8), for logs, errors and dry runs.
    pub fn command(&self, dev: &str) -> String {
        ForDevice { change: self, dev }.to_string()
    }

    /// Whether it is set of a device together with others like it: in any order, by one message.
    pub(super) fn is_setting(&self) -> bool {
        matches!(self, Change::Alias(_) | Change::Forward(_) | Change::NoLinkLocal)
    }

    /// Whether packets go on without it, only slower.
    pub(super) fn is_dispensable(&self) -> bool {
        matches!(self, Change::AddClsact | Change::PutFilter(_))
    }

    /// Whether this refusal leaves things as they were wanted: what is to be removed is gone
    /// already, or what is to be switched off does not exist in this kernel.
    pub(super) fn tolerates(&self, errno: Errno) -> bool {
        match self {
            Change::NoLinkLocal => matches!(errno, Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP),
            Change::DelAddress(_) => errno == Errno::EADDRNOTAVAIL,
            Change::DelRoute(_) | Change::DelUnreachable(_) => errno == Errno::ESRCH,
            Change::DelNeighbour(_) | Change::DelFdb(_) => errno == Errno::ENOENT,
            Change::AddClsact => errno == Errno::EEXIST,
            Change::DelClsact | Change::DelFilter(_) => {
                matches!(errno, Errno::ENOENT | Errno::EINVAL)
            }
            _ => false,
        }
    }
}

struct ForDevice<'a> {
    change: &'a Change,
    dev: &'a str,
}

impl fmt::Display for ForDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dev = self.dev;
        match self.change {
            Change::Up => write!(f, "ip link set {dev} up"),
            Change::Mtu(mtu) => write!(f, "ip link set {dev} mtu {mtu}"),
            Change::Mac(mac) => write!(f, "ip link set {dev} address {mac}"),
            Change::Alias(alias) => write!(f, "ip link set {dev} alias {alias:?}"),
            Change::Finish => write!(f, "ip link set {dev} gso_max_segs {FINISHED}"),
            Change::Group(group) => write!(f, "ip link set {dev} group {group}"),
            Change::Forward(reverse_path) => {
                write!(f, "sysctl -w net.ipv4.conf.{dev}.forwarding=1")?;
                write!(f, " net.ipv4.conf.{dev}.rp_filter={}", *reverse_path as i32)
            }
            Change::NoLinkLocal => write!(f, "ip link set {dev} addrgenmode none"),
            Change::AddAddress(address) => write!(f, "ip addr add {address} dev {dev}"),
            Change::DelAddress(address) => write!(f, "ip addr delete {address} dev {dev}"),
            Change::AddRoute(route) => write!(f, "ip route add {}", RouteWords { route, dev }),
            Change::PutRoute(route) => {
                write!(f, "ip route replace {}", RouteWords { route, dev })
            }
            Change::DelRoute(route) => write!(f, "ip route delete {}", RouteWords { route, dev }),
            Change::PutUnreachable(Unreachable { dst, metric }) => {
                let proto = super::PROTOCOL;
                write!(f, "ip route replace unreachable {dst} proto {proto} metric {metric}")
            }
            Change::DelUnreachable(Unreachable { dst, metric }) => {
                let proto = super::PROTOCOL;
                write!(f, "ip route delete unreachable {dst} proto {proto} metric {metric}")
            }
            Change::PutNeighbour(Neighbour { address, mac }) => {
                write!(f, "ip neigh replace {address} lladdr {mac} dev {dev} nud permanent")
            }
            Change::DelNeighbour(address) => write!(f, "ip neigh delete {address} dev {dev}"),
            Change::PutFdb(FdbEntry { mac, vtep }) => {
                write!(f, "bridge fdb replace {mac} dev {dev} dst {vtep} self permanent")
            }
            Change::AddClsact => f.write_str(&clsact_command("add", dev)),
            Change::DelClsact => f.write_str(&clsact_command("delete", dev)),
            Change::PutFilter(Filter { hook, name, .. }) => {
                f.write_str(&filter_command("replace", dev, *hook, Some(name)))
            }
            Change::DelFilter(hook) => f.write_str(&filter_command("delete", dev, *hook, None)),
            Change::DelFdb(FdbEntry { mac, vtep }) => {
                write!(f, "bridge fdb delete {mac} dev {dev} dst {vtep} self")
            }
        }
    }
}

struct RouteWords<'a> {
    route: &'a Route,
    dev: &'a str,
}

impl fmt::Display for RouteWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { dst, gateway, onlink, source, metric } = self.route;
        match dst.prefix() {
            0 => write!(f, "default")?,
            _ => write!(f, "{dst}")?,
        }
        if let Some(gateway) = gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.dev)?;
        if *onlink {
            write!(f, " onlink")?;
        }
        write!(f, " proto {}", super::PROTOCOL)?;
        if let Some(source) = source {
            write!(f, " src {source}")?;
        }
        if let Some(metric) = metric {
            write!(f, " metric {metric}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_ip() {
        let route = Route {
            dst: "10.244.2.0/24".parse().unwrap(),
            gateway: Some("10.244.2.0".parse().unwrap()),
            onlink: true,
            source: Some("10.244.1.0".parse().unwrap()),
            metric: Some(7),
        };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let default = Route {
            dst: "::/0".parse().unwrap(),
            gateway: Some("fe80::1".parse().unwrap()),
            onlink: false,
            source: None,
            metric: None,
        };
        let table = [
            (
                Change::AddRoute(route),
                "ip route add 10.244.2.0/24 via 10.244.2.0 dev d onlink proto 102 src 10.244.1.0 metric 7",
            ),
            (Change::DelRoute(default), "ip route delete default via fe80::1 dev d proto 102"),
            (
                Change::PutUnreachable(Unreachable {
                    dst: "fd00:1::/64".parse().unwrap(),
                    metric: 9,
                }),
                "ip route replace unreachable fd00:1::/64 proto 102 metric 9",
            ),
            (
                Change::PutNeighbour(Neighbour { address: "fd00::".parse().unwrap(), mac }),
                "ip neigh replace fd00:: lladdr 02:00:00:00:00:01 dev d nud permanent",
            ),
            (
                Change::DelFdb(FdbEntry { mac, vtep: "192.0.2.1".parse().unwrap() }),
                "bridge fdb delete 02:00:00:00:00:01 dev d dst 192.0.2.1 self",
            ),
            (
                Change::Forward(ReversePath::Strict),
                "sysctl -w net.ipv4.conf.d.forwarding=1 net.ipv4.conf.d.rp_filter=1",
            ),
        ];
        for (change, words) in table {
            assert_eq!(change.command("d"), words);
        }
    }
}
