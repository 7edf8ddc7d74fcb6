use std::net::IpAddr;

use flatnet_conf::Mac;
use proptest::prelude::*;

use super::*;
use crate::identity::{route_metric, vtep_mac};
use crate::kernel::fake::{Fake, FakeLink};
use crate::kernel::{Kernel, ReversePath, Vxlan, VxlanLink};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peer_ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

/// An overlay of node 1 with these peers, each with its VTEP's last byte and its range's third.
fn overlay(mtu: u32, peers: &[(u8, u8)]) -> Overlay {
    let mut overlay = Overlay {
        link: VxlanLink {
            name: "flat.7".into(),
            mac: vtep_mac(7, peer_ip(1)),
            group: 0x6700_0007,
            mtu,
            vxlan: Vxlan {
                vni: 7,
                local: Some(peer_ip(1)),
                port: 4789,
                source_ports: crate::identity::SOURCE_PORTS,
                learning: false,
                special: false,
                vrf: None,
            },
        },
        alias: "flatnet:pods/a".into(),
        addresses: vec!["10.1.1.0/32".parse().unwrap()],
        routes: vec![],
        unreachable: vec![],
        neighbours: vec![],
        fdb: vec![],
    };
    for (vtep, range) in peers {
        let mac = vtep_mac(7, peer_ip(*vtep));
        let gateway = IpAddr::from([10, 1, *range, 0]);
        overlay.fdb.push(FdbEntry { mac, vtep: peer_ip(*vtep) });
        overlay.neighbours.push(Neighbour { address: gateway, mac });
        let route = Route {
            dst: IpNetwork::new(gateway, 24).unwrap(),
            gateway: Some(gateway),
            onlink: true,
            source: Some(ip("10.1.1.0")),
            metric: Some(route_metric(7, peer_ip(*vtep))),
        };
        overlay.routes.push((Via::Overlay, route));
    }
    overlay
}

fn observed(link: &FakeLink) -> Observed {
    Observed {
        link: link.link.clone(),
        forwards: true,
        addresses: link.addresses.clone(),
        routes: link.routes.iter().map(|route| (Via::Overlay, route.clone())).collect(),
        unreachable: vec![],
        earlier: vec![],
        neighbours: link.neighbours.values().cloned().collect(),
        fdb: link.fdb.clone(),
    }
}

/// A kernel in which `want` has been applied to nothing.
fn applied(want: &Overlay) -> Fake {
    let mut fake = Fake::default();
    fake.create_vxlan(&want.link).unwrap();
    reapply(&mut fake, want);
    fake
}

/// Applies `want`; returns the changes.
fn reapply(fake: &mut Fake, want: &Overlay) -> Vec<Change> {
    let have = observed(&fake.links["flat.7"]);
    let steps = plan_objects(want, &have);
    assert!(steps.len() <= 1 && steps.iter().all(|(via, _)| *via == Via::Overlay), "{steps:?}");
    let changes: Vec<_> = steps.into_iter().flat_map(|(_, changes)| changes).collect();
    fake.apply(&have.link.dev, &changes).unwrap();
    changes
}

fn standing(fake: &Fake) -> Observed {
    let mut have = observed(&fake.links["flat.7"]);
    have.routes.sort();
    have.fdb.sort_by_key(|entry| entry.vtep);
    have
}

#[test]
fn applying_twice_changes_nothing() {
    let want = overlay(1450, &[(2, 2), (3, 3)]);
    let mut fake = applied(&want);
    assert_eq!(reapply(&mut fake, &want), []);
}

#[test]
fn a_new_peer_is_wired_from_the_wire_up() {
    let mut fake = applied(&overlay(1450, &[(2, 2)]));
    let changes = reapply(&mut fake, &overlay(1450, &[(2, 2), (3, 3)]));
    let words: Vec<_> = changes.iter().map(|change| change.command("flat.7")).collect();
    let (mac, metric) = (vtep_mac(7, peer_ip(3)), route_metric(7, peer_ip(3)));
    assert_eq!(
        words,
        [
            format!("bridge fdb replace {mac} dev flat.7 dst 192.0.2.3 self permanent"),
            format!("ip neigh replace 10.1.3.0 lladdr {mac} dev flat.7 nud permanent"),
            format!(
                "ip route replace 10.1.3.0/24 via 10.1.3.0 dev flat.7 onlink proto 102 src 10.1.1.0 metric {metric}"
            ),
        ]
    );
}

#[test]
fn a_peer_that_left_is_unwired_from_the_route_down() {
    let before = overlay(1450, &[(2, 2), (3, 3)]);
    let mut fake = applied(&before);
    let changes = reapply(&mut fake, &overlay(1450, &[(2, 2)]));
    assert_eq!(
        changes,
        [
            Change::DelRoute(before.routes[1].1.clone()),
            Change::DelNeighbour(ip("10.1.3.0")),
            Change::DelFdb(before.fdb[1].clone()),
        ]
    );
}

#[test]
fn a_route_of_the_same_metric_is_replaced_in_one_step() {
    let before = overlay(1450, &[(2, 2)]);
    let mut fake = applied(&before);
    let mut after = before.clone();
    after.addresses = vec!["10.1.8.0/32".parse().unwrap()];
    after.routes[0].1.source = Some(ip("10.1.8.0"));
    assert_eq!(
        reapply(&mut fake, &after),
        [
            Change::AddAddress(after.addresses[0]),
            Change::PutRoute(after.routes[0].1.clone()),
            Change::DelAddress(before.addresses[0]),
        ]
    );
}

#[test]
fn drift_of_the_device_is_undone() {
    let want = overlay(1450, &[(2, 2)]);
    let mut fake = applied(&want);
    let link = &mut fake.links.get_mut("flat.7").unwrap().link;
    link.mac = Some(Mac([2, 0, 0, 0, 0, 9]));
    link.mtu = 1500;
    link.group = 0;
    link.up = false;
    assert_eq!(
        reapply(&mut fake, &want),
        [
            Change::Mac(want.link.mac),
            Change::Mtu(1450),
            Change::Group(0x6700_0007),
            Change::NoLinkLocal,
            Change::Up,
            Change::PutNeighbour(want.neighbours[0].clone())
        ]
    );
}

#[test]
fn forwarding_that_was_switched_off_is_on_again() {
    let want = overlay(1450, &[(2, 2)]);
    let fake = applied(&want);
    let have = Observed { forwards: false, ..observed(&fake.links["flat.7"]) };
    let change = Change::Forward(ReversePath::Loose);
    assert_eq!(plan_objects(&want, &have), [(Via::Overlay, vec![change])]);
}

#[test]
fn a_peer_changes_its_way_in_one_step() {
    let tunnelled = overlay(1450, &[(2, 2)]);
    let mut direct = tunnelled.clone();
    let route = Route { gateway: Some(peer_ip(2)), onlink: false, ..direct.routes[0].1.clone() };
    direct.routes[0] = (Via::Uplink(3), route.clone());
    let have = observed(&applied(&tunnelled).links["flat.7"]);
    let put = (Via::Uplink(3), vec![Change::PutRoute(route)]);
    assert_eq!(plan_objects(&direct, &have), [put]);

    let have = Observed { routes: direct.routes.clone(), ..have };
    let put = (Via::Overlay, vec![Change::PutRoute(tunnelled.routes[0].1.clone())]);
    assert_eq!(plan_objects(&tunnelled, &have), [put]);
    // And a peer that leaves is forgotten wherever it was.
    let gone = overlay(1450, &[]);
    let steps = plan_objects(&gone, &have);
    assert_eq!(steps[0], (Via::Uplink(3), vec![Change::DelRoute(direct.routes[0].1.clone())]));
}

#[test]
fn what_to_do_about_the_device() {
    let want = overlay(1450, &[]);
    let fake = applied(&want);
    let ours = fake.links["flat.7"].link.clone();
    assert_eq!(plan_device(&want.link, &want.alias, None), DevicePlan::Create);
    assert_eq!(plan_device(&want.link, &want.alias, Some(&ours)), DevicePlan::Keep);

    let mut moved = want.clone();
    moved.link.vxlan.local = Some(ip("192.0.2.99"));
    assert!(matches!(plan_device(&moved.link, &moved.alias, Some(&ours)), DevicePlan::Recreate(_)));

    let mut renamed = ours.clone();
    renamed.alias = Some("flatnet:pods/old-name".into());
    assert_eq!(plan_device(&want.link, &want.alias, Some(&renamed)), DevicePlan::Keep);

    let mut other_network = ours.clone();
    other_network.alias = Some("flatnet:storage/a".into());
    match plan_device(&want.link, &want.alias, Some(&other_network)) {
        DevicePlan::Foreign(clash) => {
            let said = clash.what();
            assert!(said.contains("flatnet:storage/a") && said.contains("flatnet:pods/a"));
        }
        plan => panic!("{plan:?}"),
    }
    let mut bridge = ours;
    bridge.kind = LinkKind::Other("bridge".into());
    assert!(matches!(plan_device(&want.link, &want.alias, Some(&bridge)), DevicePlan::Foreign(_)));
}

/// Peers by VTEP, each with a range of its own, as a range file holds them.
fn peers() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let by_vtep = prop::collection::btree_map(2u8..9, 2u8..20, 0..7);
    by_vtep.prop_map(|peers| {
        let mut seen = std::collections::BTreeSet::new();
        peers.into_iter().filter(|(_, range)| seen.insert(*range)).collect()
    })
}

proptest! {
    /// apply(diff(a, b)) = b, whatever stood before.
    #[test]
    fn applying_the_difference_reaches_what_is_wanted(
        before in peers(), after in peers(), mtus in (1300u32..1500, 1300u32..1500),
    ) {
        let mut fake = applied(&overlay(mtus.0, &before));
        let want = overlay(mtus.1, &after);
        reapply(&mut fake, &want);
        prop_assert_eq!(standing(&fake), standing(&applied(&want)));
    }
}
