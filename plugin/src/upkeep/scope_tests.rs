//! What each kind of event is taken for.

use std::net::IpAddr;

use flatnet_conf::{Mac, NetworkConf};

use super::*;
use crate::identity::{overlay_group, unreachable_metric, vtep_mac};
use crate::kernel::fake::Fake;
use crate::kernel::{Dev, FdbEntry, Link, Neighbour, Observe, Route, Unreachable};
use crate::overlay::site::Site;
use crate::upkeep::drift::Drift;

/// A node with an uplink, another program's container, a pod and two peers.
struct Scene {
    held: Held,
    devices: Devices,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json");
    let text = r#"{"version":1,"vni":7,"clusterCIDRs":["10.1.0.0/16","fd00:1::/32"],"nodes":[
        {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24","fd00:1:1::/64"]},
        {"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24","fd00:1:2::/64"]},
        {"name":"c","vtep":"198.51.100.3","ranges":["10.1.3.0/24"]}]}"#;
    std::fs::write(&file, text).unwrap();
    let text = format!(
        r#"{{"cniVersion":"1.1.0","name":"pods","type":"flatnet","rangeFile":{file:?},
            "stateDir":{:?}}}"#,
        folder.path().join("state")
    );
    let conf = NetworkConf::parse_file(&file, text.as_bytes()).unwrap().remove(0);
    let mut node = Fake::default();
    node.add("eth0", 1500, &["192.0.2.1/24"], LinkKind::Other(String::new()));
    node.add("docker0", 1500, &["172.17.0.1/16"], LinkKind::Other("bridge".into()));
    node.add("vethdocker", 1500, &[], LinkKind::Veth);
    node.add("veth1", 1450, &[], LinkKind::Veth);
    node.links.get_mut("veth1").unwrap().link.group = veth_group(7);
    node.add("eth1", 1500, &[], LinkKind::Other(String::new()));
    let site = Site::find(&mut node, &conf).unwrap();
    let mut ways = site.survey(&mut node, &conf).unwrap();
    let (standing, overlay) = site.establish(&mut node, &conf, &mut ways, None).unwrap();
    let index = node.links["flat.7"].link.dev.index;
    let devices = Devices::of(node.links().unwrap());
    Scene { held: Held::new(site, ways, index, standing, overlay), devices }
}

impl Scene {
    fn index(&self, name: &str) -> u32 {
        self.link(name).dev.index
    }

    fn link(&self, name: &str) -> Link {
        let devices = (0..20).filter_map(|index| self.devices.get(index));
        devices.map(|device| device.link.clone()).find(|link| link.dev.name == name).unwrap()
    }

    fn judge(&mut self, event: &Event) -> Scope {
        let was = self.devices.learn(event);
        judge(&self.held, "pods", &self.devices, was.as_ref(), event)
    }

    /// Of a device that is as it was but for this.
    fn changed(&mut self, name: &str, change: impl FnOnce(&mut Link)) -> Scope {
        let mut link = self.link(name);
        // Once, so that it is known whether it has a carrier.
        self.judge(&Event::Link(link.clone(), true));
        change(&mut link);
        self.judge(&Event::Link(link, true))
    }

    fn our(&mut self, dev: &str, route: Route, there: bool) -> Scope {
        let route = OurRoute::Leads(self.index(dev), route);
        self.judge(&Event::OurRoute { route, there })
    }

    /// Whether an entry is wrong.
    fn is_wrong(&self, scope: Scope) -> bool {
        let Scope::Entry(entry) = scope else { panic!("{scope:?}") };
        let mut drift = Drift::default();
        drift.add(&self.held.entries, entry);
        let wrong = !drift.is_empty();
        assert_eq!(drift.plan(&self.held).is_empty(), !wrong, "what is wrong is put right");
        wrong
    }

    fn other(&mut self, dst: &str, dev: &str, gateway: bool, there: bool) -> Scope {
        self.other_in(254, dst, dev, gateway, there)
    }

    fn other_in(&mut self, table: u32, dst: &str, dev: &str, gateway: bool, there: bool) -> Scope {
        let hops = vec![(self.index(dev), gateway)];
        let way = Way { dst: dst.parse().unwrap(), table, hops, advertised: false };
        self.judge(&Event::Route { way, there })
    }
}

fn pod() -> Scope {
    Scope::Pod("veth1".into())
}

#[test]
fn devices() {
    let mut scene = scene();
    let up = |link: &mut Link| link.up = false;
    assert_eq!(scene.changed("flat.7", |_| {}), Scope::Overlay, "its offloads do not show");
    assert_eq!(scene.changed("veth1", |_| {}), pod(), "the other end is looked at, too");
    assert_eq!(scene.changed("veth1", |link| link.group = 0), pod());
    assert_eq!(scene.changed("eth0", |_| {}), Scope::Nothing);
    assert_eq!(scene.changed("eth0", |link| link.mtu = 1400), Scope::Overlay);
    assert_eq!(scene.changed("eth0", |link| link.dev.name = "wan".into()), Scope::Overlay);
    assert_eq!(scene.changed("docker0", up), Scope::Nothing);
    assert_eq!(scene.changed("vethdocker", up), Scope::Nothing);
    let bridge = Some(scene.index("docker0"));
    assert_eq!(scene.changed("vethdocker", |link| link.master = bridge), Scope::Nothing);
    assert_eq!(scene.changed("eth1", |link| link.master = bridge), Scope::Overlay);

    let without_carrier = Event::Link(scene.link("wan"), false);
    assert_eq!(scene.judge(&without_carrier), Scope::Nothing, "a name that is no uplink's");
    let mut new = scene.link("vethdocker");
    new.dev = Dev { index: 90, name: "veth2".into() };
    assert_eq!(scene.judge(&Event::Link(new.clone(), true)), Scope::Nothing);
    new.alias = Some("flatnet:pods/-/c/eth0".into());
    assert_eq!(scene.judge(&Event::Link(new.clone(), true)), Scope::Pod("veth2".into()));
    new.alias = Some("flatnet:other/-/c/eth0".into());
    new.dev.index = 91;
    assert_eq!(scene.judge(&Event::Link(new.clone(), true)), Scope::Nothing, "another network's");
    for (name, scope) in
        [("flat.7", Scope::Overlay), ("veth1", Scope::Nothing), ("vethdocker", Scope::Nothing)]
    {
        let gone = Event::LinkGone(scene.link(name));
        assert_eq!(scene.judge(&gone), scope, "{name}");
    }
}

#[test]
fn the_carrier_of_an_uplink_counts() {
    let mut scene = scene();
    let link = scene.link("eth0");
    scene.judge(&Event::Link(link.clone(), true));
    assert_eq!(scene.judge(&Event::Link(link.clone(), true)), Scope::Nothing);
    // It is known still when all devices were looked at again.
    let links = (0..20).filter_map(|n| Some(scene.devices.get(n)?.link.clone())).collect();
    scene.devices.renew(links);
    assert_eq!(scene.judge(&Event::Link(link.clone(), true)), Scope::Nothing);
    assert_eq!(scene.judge(&Event::Link(link.clone(), false)), Scope::Overlay);
    assert_eq!(scene.judge(&Event::LinkGone(link)), Scope::Overlay);
}

#[test]
fn addresses() {
    let mut scene = scene();
    for (dev, address, there, scope) in [
        ("flat.7", "10.1.1.0/32", true, Scope::Nothing),
        ("flat.7", "10.1.1.0/32", false, Scope::Overlay),
        ("flat.7", "fd00:1:1::/128", false, Scope::Overlay),
        ("flat.7", "10.9.9.9/32", true, Scope::Overlay),
        ("flat.7", "10.9.9.9/32", false, Scope::Nothing),
        ("flat.7", "fe80::9/64", true, Scope::Nothing),
        ("veth1", "fe80::9/64", true, Scope::Nothing),
        ("eth0", "192.0.2.1/24", false, Scope::Everything),
        ("eth0", "192.0.2.1/24", true, Scope::Nothing),
        ("eth1", "192.0.2.1/24", true, Scope::Everything),
        ("eth1", "198.51.100.3/24", true, Scope::Everything),
        ("eth1", "203.0.113.1/24", true, Scope::Nothing),
    ] {
        let event =
            Event::Address { dev: scene.index(dev), address: address.parse().unwrap(), there };
        assert_eq!(scene.judge(&event), scope, "{dev} {address} {there}");
    }
}

#[test]
fn routes_of_ours() {
    let mut scene = scene();
    let wanted: Vec<_> = scene.held.entries.routes.values().cloned().collect();
    assert_eq!(wanted.len(), 3, "of both families");
    for (_, route) in wanted {
        let there = scene.our("flat.7", route.clone(), true);
        assert!(!scene.is_wrong(there), "{route:?}");
        let gone = scene.our("flat.7", route.clone(), false);
        assert!(scene.is_wrong(gone), "{route:?}");
        let another = Route { source: None, ..route.clone() };
        let replaced = scene.our("flat.7", another, true);
        assert!(scene.is_wrong(replaced), "{route:?}");
        let elsewhere = scene.our("eth0", route.clone(), true);
        assert!(scene.is_wrong(elsewhere), "by an uplink instead");
        assert_eq!(
            scene.our("eth0", route.clone(), false),
            Scope::Nothing,
            "that one is gone again"
        );

        let stale = Route { metric: Some(5), ..route };
        let new = scene.our("flat.7", stale.clone(), true);
        assert!(scene.is_wrong(new), "of no peer any more");
        let gone = scene.our("flat.7", stale, false);
        assert!(!scene.is_wrong(gone));
    }
    for address in ["10.1.1.9", "fd00:1:1::9"] {
        let dst = IpNetwork::from(address.parse::<IpAddr>().unwrap());
        let (gateway, onlink, source, metric) = (None, false, None, None);
        let route = Route { dst, gateway, onlink, source, metric };
        assert_eq!(scene.our("veth1", route.clone(), false), pod());
        assert_eq!(scene.our("vethdocker", route, false), Scope::Nothing, "another network's pod");
    }
    for (metric, there, scope) in [
        (unreachable_metric(7), true, Scope::Nothing),
        (unreachable_metric(7), false, Scope::Overlay),
        (unreachable_metric(8), false, Scope::Nothing),
    ] {
        let end = Unreachable { dst: "10.1.1.0/24".parse().unwrap(), metric };
        let event = Event::OurRoute { route: OurRoute::Ends(end), there };
        assert_eq!(scene.judge(&event), scope, "{metric} {there}");
    }
}

#[test]
fn routes_of_others() {
    let mut scene = scene();
    for (dst, dev, gateway, there, scope) in [
        ("0.0.0.0/0", "eth1", true, true, Scope::Overlay),
        ("0.0.0.0/0", "eth0", true, false, Scope::Overlay),
        ("::/0", "eth1", true, true, Scope::Overlay),
        ("198.51.100.0/24", "eth1", true, true, Scope::Overlay),
        ("192.0.2.2/32", "eth0", false, false, Scope::Overlay),
        ("203.0.113.0/24", "eth1", true, true, Scope::Overlay),
        ("203.0.113.0/24", "eth1", true, false, Scope::Nothing),
        ("203.0.113.0/24", "eth0", true, true, Scope::Nothing),
        ("172.17.0.2/32", "vethdocker", false, true, Scope::Nothing),
        ("172.18.0.0/16", "vethdocker", false, true, Scope::Overlay),
        ("10.1.1.9/32", "vethdocker", false, true, Scope::Everything),
        ("10.1.2.0/24", "eth1", true, true, Scope::Overlay),
        ("10.0.0.0/8", "eth0", true, true, Scope::Overlay),
        ("fe80::/64", "vethdocker", false, true, Scope::Nothing),
        ("ff00::/8", "vethdocker", false, true, Scope::Nothing),
    ] {
        assert_eq!(scene.other(dst, dev, gateway, there), scope, "{dst} {dev} {gateway} {there}");
    }
    let own = scene.other_in(255, "192.0.2.2/32", "eth0", false, true);
    assert_eq!(own, Scope::Nothing, "an address has its own event");
    assert_eq!(scene.judge(&Event::Rule), Scope::Overlay);
}

#[test]
fn neighbours_and_forwarding_entries() {
    let mut scene = scene();
    let mac = vtep_mac(7, "192.0.2.2".parse().unwrap());
    for address in ["10.1.2.0", "fd00:1:2::"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let mut on = |dev: &str, ours| {
            let event = Event::Neighbour { dev: scene.index(dev), address, ours };
            scene.judge(&event)
        };
        let right = on("flat.7", Some(Neighbour { address, mac }));
        let gone = on("flat.7", None);
        let wrong = on("flat.7", Some(Neighbour { address, mac: Mac([2; 6]) }));
        assert_eq!(on("veth1", None), pod());
        assert_eq!(on("eth0", None), Scope::Nothing, "what the underlay says all day");
        assert_eq!(
            [right, gone, wrong].map(|scope| scene.is_wrong(scope)),
            [false, true, true],
            "{address}"
        );
    }
    let address = "fe80::9".parse().unwrap();
    let of_kernel = Event::Neighbour { dev: scene.index("veth1"), address, ours: None };
    assert_eq!(scene.judge(&of_kernel), Scope::Nothing);

    let (ours, theirs) = (scene.index("flat.7"), scene.index("docker0"));
    for (vtep, there, wrong) in
        [("192.0.2.2", true, false), ("192.0.2.2", false, true), ("192.0.2.9", true, true)]
    {
        let entry = FdbEntry { mac, vtep: vtep.parse().unwrap() };
        let elsewhere = Event::Fdb { dev: theirs, entry: entry.clone(), there };
        assert_eq!(scene.judge(&elsewhere), Scope::Nothing);
        let scope = scene.judge(&Event::Fdb { dev: ours, entry, there });
        assert_eq!(scene.is_wrong(scope), wrong, "{vtep} {there}");
    }
}

#[test]
fn settings_and_rules() {
    let mut scene = scene();
    for (dev, scope) in [
        ("flat.7", Scope::Overlay),
        ("eth0", Scope::Overlay),
        ("veth1", pod()),
        ("vethdocker", Scope::Nothing),
        ("docker0", Scope::Nothing),
    ] {
        let event = Event::Setting(Some(scene.index(dev)));
        assert_eq!(scene.judge(&event), scope, "{dev}");
    }
    assert_eq!(scene.judge(&Event::Setting(None)), Scope::Overlay);
    assert_eq!(scene.judge(&Event::Filter), Scope::Rules);
    assert_eq!(scene.judge(&Event::Policies), Scope::Overlay);
}

#[test]
fn the_last_word_about_an_entry_counts() {
    let scene = scene();
    let entries = &scene.held.entries;
    let (mac, vtep) = entries.fdb.iter().next().map(|(mac, vtep)| (*mac, *vtep)).unwrap();
    let mut drift = Drift::default();
    drift.add(entries, Entry::Fdb(mac, None));
    let steps = drift.plan(&scene.held);
    let put = crate::kernel::Change::PutFdb(FdbEntry { mac, vtep });
    assert_eq!(steps, [(crate::overlay::desired::Via::Overlay, vec![put])]);
    drift.add(entries, Entry::Fdb(mac, Some(FdbEntry { mac, vtep })));
    assert!(drift.is_empty(), "it came back by itself");
}

#[test]
fn what_failed_is_tried_again_when_something_else_changes() {
    let scene = scene();
    let mut vxlan = scene.link("flat.7");
    vxlan.group = overlay_group(7);
    let known = scene.devices.get(vxlan.dev.index);
    let came = Event::Link(vxlan.clone(), false);
    assert_eq!(judge_failed(known, &came), Scope::Nothing);
    let gone = Event::LinkGone(vxlan.clone());
    assert_eq!(judge_failed(known, &gone), Scope::Everything, "it may have been in the way");
    vxlan.dev.name = trial_name(7);
    assert_eq!(judge_failed(known, &Event::LinkGone(vxlan)), Scope::Nothing, "a trial of ours");
    let address =
        |text: &str| Event::Address { dev: 1, address: text.parse().unwrap(), there: true };
    assert_eq!(judge_failed(None, &address("192.0.2.1/24")), Scope::Everything);
    assert_eq!(judge_failed(None, &address("fe80::1/64")), Scope::Nothing);
    assert_eq!(judge_failed(None, &Event::Filter), Scope::Everything);
    assert_eq!(judge_failed(None, &Event::Setting(Some(1))), Scope::Nothing);
}
