//! What holds of any rules: what stands becomes what is wanted by messages that the kernel takes, and
//! another network's objects stay.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{Masquerade, Policy};
use crate::kernel::nft::model::{Model, drift, drifts};

fn policies(vni: u32) -> impl Strategy<Value = Policy> {
    let cidrs =
        ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "192.168.0.0/24", "fd00::/16", "fd01::/64"];
    let vteps = (any::<bool>(), subsequence((1..6).collect::<Vec<u8>>(), 1..5));
    let devices = subsequence(vec!["eth0".to_owned(), "eth1".to_owned()], 0..3);
    let masquerade =
        prop::sample::select(vec![Masquerade::Off, Masquerade::On, Masquerade::SparesNodes]);
    (vteps, subsequence(cidrs.to_vec(), 1..5), 4789u16..4791, devices, masquerade).prop_map(
        move |((v6, vteps), cidrs, port, devices, masquerade)| {
            let vtep = |last: u8| match v6 {
                false => IpAddr::from([192, 0, 2, last]),
                true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            };
            Policy {
                fast_path: false,
                network: "pods".into(),
                vni,
                port,
                group: 0x6600_0000 | vni,
                overlay_group: 0x6700_0000 | vni,
                vtep: vtep(1),
                vteps: vteps.into_iter().map(vtep).collect(),
                cluster_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
                underlay: devices,
                gateway: [169, 254, 1, 1].into(),
                masquerade,
            }
        },
    )
}

proptest! {
    #[test]
    fn whatever_stands_becomes_what_is_wanted(
        before in policies(7), other in policies(8), drifted in drifts(),
        after in prop::option::of(policies(7)),
    ) {
        // Drift shows best where nothing else changes.
        let after = after.unwrap_or_else(|| before.clone()).rules();
        let mut kernel = Model::default();
        kernel.replace(&before.rules());
        kernel.replace(&other.rules());
        drifted.into_iter().for_each(|what| drift(&mut kernel, what));
        let others = kernel.objects(8);

        kernel.replace(&after);
        let mut fresh = Model::default();
        fresh.replace(&after);
        prop_assert_eq!(kernel.objects(7), fresh.objects(7));
        prop_assert!(kernel.is_awake());
        prop_assert_eq!(kernel.replace(&after), [""; 0]);
        prop_assert_eq!(&kernel.objects(8), &others);

        kernel.remove(7);
        prop_assert_eq!(kernel.objects(7), Model::default().objects(7));
        prop_assert_eq!(&kernel.objects(8), &others);
        kernel.remove(8);
        prop_assert_eq!(kernel, Model::default());
    }
}
