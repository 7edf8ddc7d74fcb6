//! What stands in the kernel, in the words of the design: read with the same commands an
//! administrator uses, so that the tests also show that these commands tell.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::frame::{self, Mac};
use crate::netns::Netns;
use crate::wait::PATIENCE;

/// The route protocol number of everything flatnet puts into a routing table.
pub const PROTOCOL: u8 = 102;

/// One route of ours on a node (`ip route show proto 102`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination; a bare address is a host route.
    pub dst: String,
    /// Next hop, if any.
    pub via: Option<String>,
    /// Device.
    pub dev: String,
    /// Preferred source, if any.
    pub src: Option<String>,
    /// Metric; 0 where none is set.
    pub metric: u64,
    /// Whether the next hop is taken to be on the link.
    pub onlink: bool,
}

/// A link by name, with details (`ip -d link show`); none if there is no such link.
pub fn link(netns: &Netns, name: &str) -> Option<Value> {
    links(netns).into_iter().find(|link| link["ifname"] == name)
}

/// The MAC of a link, which there is.
pub fn mac(netns: &Netns, name: &str) -> Mac {
    let link = link(netns, name).unwrap_or_else(|| panic!("{} has no {name}", netns.name()));
    frame::mac(&text(&link, "address"))
}

/// All links (`ip -d link`).
pub fn links(netns: &Netns) -> Vec<Value> {
    netns.json("ip -j -d link")
}

/// The names of all links.
pub fn link_names(netns: &Netns) -> BTreeSet<String> {
    links(netns).iter().map(|link| text(link, "ifname")).collect()
}

/// Waits for a link to go: the kernel takes a veth away some time after its peer's namespace.
pub fn wait_until_gone(netns: &Netns, name: &str) {
    wait(netns, name, "gone", |link| link.is_none());
}

/// Waits for a link to be reported as up: the kernel does so a moment after it carries packets.
pub fn wait_until_up(netns: &Netns, name: &str) {
    wait(netns, name, "up", |link| link.is_some_and(|link| link["operstate"] == "UP"));
}

/// Waits, bounded, for a link to be as wanted.
fn wait(netns: &Netns, name: &str, wanted: &str, is: impl Fn(Option<Value>) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is(link(netns, name)) {
        assert!(Instant::now() < deadline, "{name} in {} is not {wanted}", netns.name());
        sleep(Duration::from_millis(5));
    }
}

/// Our routes in the main table that lead somewhere, both families, sorted.
pub fn routes(netns: &Netns) -> Vec<Route> {
    let listed = our_routes(netns, "");
    // The type is told of those that lead nowhere.
    let mut routes: Vec<Route> = listed.iter().filter(|r| r["type"].is_null()).map(route).collect();
    routes.sort();
    routes
}

/// Our unreachable routes in the main table, both families, as (destination, metric).
pub fn unreachable(netns: &Netns) -> BTreeSet<(String, u64)> {
    let listed = our_routes(netns, "type unreachable");
    let metric = |value: &Value| value["metric"].as_u64().unwrap_or(0);
    listed.iter().map(|value| (text(value, "dst"), metric(value))).collect()
}

fn our_routes(netns: &Netns, selected: &str) -> Vec<Value> {
    let listed = |family: &str| {
        netns.json(&format!("ip -N -j {family} route show table main proto {PROTOCOL} {selected}"))
    };
    [listed("-4"), listed("-6")].concat()
}

/// One route as iproute2 prints it.
fn route(value: &Value) -> Route {
    let optional = |key: &str| value[key].as_str().map(str::to_owned);
    let flags = value["flags"].as_array();
    Route {
        dst: text(value, "dst"),
        via: optional("gateway"),
        dev: text(value, "dev"),
        src: optional("prefsrc"),
        metric: value["metric"].as_u64().unwrap_or(0),
        onlink: flags.is_some_and(|flags| flags.iter().any(|flag| flag == "onlink")),
    }
}

/// The permanent neighbours on a device, as (address, MAC).
pub fn neighbours(netns: &Netns, dev: &str) -> BTreeSet<(IpAddr, String)> {
    let entries = netns.json(&format!("ip -j neigh show dev {dev} nud permanent"));
    entries.iter().map(|entry| (address(entry), text(entry, "lladdr"))).collect()
}

/// The FDB of a VXLAN device, as (MAC, VTEP).
pub fn fdb(netns: &Netns, dev: &str) -> BTreeSet<(String, IpAddr)> {
    let entries = netns.json(&format!("bridge -j fdb show dev {dev}"));
    entries.iter().map(|entry| (text(entry, "mac"), address(entry))).collect()
}

/// The addresses on a device, with prefix, link-local ones left out.
pub fn addresses(netns: &Netns, dev: &str) -> BTreeSet<String> {
    let links = netns.json(&format!("ip -j addr show dev {dev}"));
    let infos = links.iter().flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    infos
        .filter(|info| info["scope"] != "link")
        .map(|info| format!("{}/{}", text(info, "local"), info["prefixlen"]))
        .collect()
}

/// A sysctl below `net/`, as the namespace has it.
pub fn sysctl(netns: &Netns, name: &str) -> String {
    let path = format!("/proc/sys/net/{name}");
    let read = || std::fs::read_to_string(&path);
    netns.run(read).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

/// Sets a sysctl below `net/`.
pub fn set_sysctl(netns: &Netns, name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    netns.run(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The text of a key that must be there.
fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

/// The `dst` of an entry.
fn address(entry: &Value) -> IpAddr {
    text(entry, "dst").parse().unwrap_or_else(|error| panic!("{entry}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_iproute2_was_told_to_make() {
        let netns = Netns::new("kernel");
        for line in [
            "ip link add flat.9 type vxlan id 9 local 127.0.0.1 dstport 4789 nolearning",
            "ip link set flat.9 up addrgenmode none",
            "ip addr add 10.8.1.0/32 dev flat.9",
            "ip neigh add 10.8.2.0 lladdr 02:00:00:00:00:02 dev flat.9 nud permanent",
            "bridge fdb add 02:00:00:00:00:02 dev flat.9 dst 127.0.0.2 self permanent",
            "ip route add 10.8.2.0/24 via 10.8.2.0 dev flat.9 onlink src 10.8.1.0 metric 77 proto 102",
            "ip route add 10.9.0.0/16 dev flat.9",
        ] {
            netns.exec(line);
        }
        let expected = Route {
            dst: "10.8.2.0/24".into(),
            via: Some("10.8.2.0".into()),
            dev: "flat.9".into(),
            src: Some("10.8.1.0".into()),
            metric: 77,
            onlink: true,
        };
        assert_eq!(routes(&netns), [expected]);
        let peer: IpAddr = [10, 8, 2, 0].into();
        assert_eq!(neighbours(&netns, "flat.9"), [(peer, "02:00:00:00:00:02".into())].into());
        let vtep: IpAddr = [127, 0, 0, 2].into();
        assert_eq!(fdb(&netns, "flat.9"), [("02:00:00:00:00:02".into(), vtep)].into());
        assert_eq!(addresses(&netns, "flat.9"), ["10.8.1.0/32".into()].into());
        assert_eq!(sysctl(&netns, "ipv4/conf/lo/arp_notify"), "0");
        assert_eq!(link_names(&netns), ["flat.9".into(), "lo".into()].into());
    }
}
