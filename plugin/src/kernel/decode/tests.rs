use super::*;
use crate::kernel::attribute::numbered;

/// `struct ndmsg` of device 7, and attributes.
fn entry(state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 7, 0, 0, 0];
    bytes.extend_from_slice(&state.to_ne_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend(numbered(attributes));
    bytes
}

/// `struct ifinfomsg` of device 7, up, and attributes.
fn device(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 7, 0, 0, 0];
    bytes.extend_from_slice(&0x43_u32.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend(numbered(attributes));
    bytes
}

#[test]
fn a_device_is_read_whatever_else_it_has() {
    let info = numbered(&[(1, b"team\0"), (2, &[9; 7])]);
    let [mtu, peer, master, netns] = [1500_u32, 2, 3, 4].map(u32::to_ne_bytes);
    let found = link(&device(&[
        (3, b"caf\xe9\0"),
        (4, &mtu),
        (5, &peer),
        (10, &master),
        (37, &netns),
        (20, b"an uplink\0"),
        // A MAC of 20 bytes, as InfiniBand has it; attributes of no length that makes sense.
        (1, &[1; 20]),
        (27, &[1]),
        (26, &[0xff; 3]),
        (60_000 & 0x3fff, &[0xff; 9]),
        (18, &info),
    ]));
    let expected = Link {
        dev: Dev { index: 7, name: "caf\u{fffd}".into() },
        mac: None,
        mtu: 1500,
        up: true,
        alias: Some("an uplink".into()),
        group: 0,
        peer: Some(2),
        peer_netns: Some(4),
        master: Some(3),
        xdp: false,
        kind: LinkKind::Other("team".into()),
    };
    assert_eq!(found, Some(expected));
    assert_eq!(link(&device(&[])[..15]), None, "cut short");
    let half = link(&device(&[(40, &UNFINISHED.to_ne_bytes()), (20, b"a pod\0")])).unwrap();
    assert_eq!(half.alias, None, "its ADD is not done");
    let bare = link(&device(&[])).unwrap();
    assert_eq!((bare.kind, bare.mtu), (LinkKind::Other(String::new()), 0));
}

#[test]
fn a_vxlan_device_has_its_parameters() {
    let (vni, vrf) = (4096_u32.to_ne_bytes(), 5_u32.to_ne_bytes());
    let parameters: [(u16, &[u8]); 7] = [
        (1, &vni),
        (3, &vrf),
        (4, &[192, 0, 2, 1]),
        (7, &[0]),
        (10, &[0xc0, 0, 0xff, 0xff]),
        (15, &[0x12, 0xb5]),
        (99, &[1, 2, 3]),
    ];
    let of = |parameters: &[(u16, &[u8])]| {
        let info = numbered(&[(1, b"vxlan\0"), (2, &numbered(parameters))]);
        match link(&device(&[(18, &info)])).unwrap().kind {
            LinkKind::Vxlan(vxlan) => vxlan,
            other => panic!("{other:?}"),
        }
    };
    let expected = Vxlan {
        special: false,
        vni: 4096,
        local: Some([192, 0, 2, 1].into()),
        port: 4789,
        source_ports: (49152, 65535),
        learning: false,
        vrf: Some(5),
    };
    assert_eq!(of(&parameters), expected);
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    let other = of(&[(17, &v6.octets()), (7, &[1]), (10, &[1])]);
    assert_eq!((other.local, other.learning, other.vrf), (Some(v6.into()), true, None));
    let info = numbered(&[(1, b"veth\0")]);
    assert_eq!(link(&device(&[(18, &info)])).unwrap().kind, LinkKind::Veth);
}

#[test]
fn an_address_is_the_devices_own_end() {
    let of = |family, attributes: &[(u16, &[u8])]| {
        let mut bytes = vec![family, 24, 0, 0, 7, 0, 0, 0];
        bytes.extend(numbered(attributes));
        address(&bytes)
    };
    let (own, far): (&[u8], &[u8]) = (&[10, 0, 0, 1], &[10, 0, 0, 2]);
    let expected = Some((7, "10.0.0.1/24".parse().unwrap()));
    assert_eq!(of(2, &[(1, far), (2, own), (99, &[1])]), expected);
    assert_eq!(of(2, &[(1, own)]), expected);
    assert_eq!(of(45, &[(2, &[9])]), None, "of a family that is not IP's (MCTP)");
    assert_eq!(of(2, &[]), None);
}

#[test]
fn an_entry_is_ours_by_device_state_and_protocol() {
    let (to, lladdr): (&[u8], &[u8]) = (&[10, 1, 2, 0], &[2, 0, 0, 0, 0, 1]);
    let ours = entry(0x80, &[(1, to), (2, lladdr), (12, &[102])]);
    let expected = Neighbour { address: [10, 1, 2, 0].into(), mac: Mac([2, 0, 0, 0, 0, 1]) };
    assert_eq!(neighbour(&ours, 7), Some(expected));
    assert_eq!(neighbour(&ours, 8), None, "another device");
    for (why, bytes) in [
        ("reachable", entry(0x02, &[(1, to), (2, lladdr), (12, &[102])])),
        ("another protocol", entry(0x80, &[(1, to), (2, lladdr), (12, &[4])])),
        ("no protocol", entry(0x80, &[(1, to), (2, lladdr)])),
        ("no MAC", entry(0x80, &[(1, to), (12, &[102])])),
        ("no address", entry(0x80, &[(1, &[10]), (2, lladdr), (12, &[102])])),
    ] {
        assert_eq!(neighbour(&bytes, 7), None, "{why}");
    }
    // The last three bytes are padding.
    (0..ours.len() - 3).for_each(|end| assert_eq!(neighbour(&ours[..end], 7), None, "{end}"));
}

#[test]
fn a_route_is_ours_by_protocol_and_leads_somewhere() {
    let bytes = |protocol, kind, flags: u32, attributes: &[(u16, &[u8])]| {
        let mut bytes = vec![2, 24, 0, 0, 254, protocol, 0, kind];
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend(numbered(attributes));
        bytes
    };
    let (dev, metric) = (7_u32.to_ne_bytes(), 9_u32.to_ne_bytes());
    let (dst, source): (&[u8], &[u8]) = (&[10, 1, 2, 0], &[10, 1, 1, 0]);
    let to_peer = [(15, &[9][..]), (1, dst), (7, source), (5, dst), (4, &dev), (6, &metric)];
    let expected = Route {
        dst: "10.1.2.0/24".parse().unwrap(),
        gateway: Some([10, 1, 2, 0].into()),
        onlink: true,
        source: Some([10, 1, 1, 0].into()),
        metric: Some(9),
    };
    let ours = bytes(102, 1, 4, &to_peer);
    assert_eq!(route(&ours), Some((7, expected.clone())));
    let theirs = bytes(3, 1, 4, &to_peer);
    assert_eq!((route(&theirs), any_route(&theirs)), (None, Some((7, expected))));
    let plain = any_route(&bytes(3, 1, 0, &[(4, &dev), (6, &[0; 4])]));
    let (dst, gateway, onlink) = ("0.0.0.0/24".parse().unwrap(), None, false);
    let expected = Route { dst, gateway, onlink, source: None, metric: None };
    assert_eq!(plain, Some((7, expected)));
    for (why, bytes) in [
        ("unreachable", bytes(102, 7, 0, &to_peer)),
        ("learned", bytes(102, 1, 0x200, &to_peer)),
        ("without a device", bytes(102, 1, 0, &to_peer[..4])),
        ("a strange destination", bytes(102, 1, 0, &[(1, &[10]), (4, &dev)])),
        ("cut short", ours[..11].to_vec()),
    ] {
        assert_eq!(route(&bytes), None, "{why}");
    }
}

#[test]
fn a_forwarding_entry_has_a_vtep_of_either_family() {
    let (v6, lladdr) = (std::net::Ipv6Addr::LOCALHOST, [2, 0, 0, 0, 0, 1]);
    let found = fdb(&entry(0x80, &[(2, &lladdr), (1, &v6.octets())]), 7);
    assert_eq!(found, Some(FdbEntry { mac: Mac(lladdr), vtep: v6.into() }));
    assert_eq!(fdb(&entry(0x80, &[(2, &lladdr)]), 7), None, "a device's own address");
}
