//! What holds for every input, tried on many.

#![allow(clippy::unwrap_used, reason = "in a test, also outside its functions")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use flatnet_conf::{
    AddResult, CniArgs, Command, Invocation, NetworkConf, Node, Range, RangeFile, Version,
    reply_version,
};
use ipnetwork::IpNetwork;
use proptest::prelude::*;

fn invocation(command: Command) -> Invocation {
    Invocation {
        command,
        container_id: "c1".to_owned(),
        netns: None,
        ifname: "eth0".to_owned(),
        path: Vec::new(),
        args: CniArgs::default(),
        netns_override: false,
    }
}

fn parse_all(bytes: &[u8]) {
    let _ = RangeFile::parse(Path::new("/pods.json"), bytes);
    let _ = reply_version(bytes);
    for command in [Command::Add, Command::Check, Command::Del, Command::Gc, Command::Status] {
        let _ = NetworkConf::parse(bytes, &invocation(command));
    }
}

/// The subnet with this number, and the address with that offset in it.
fn subnet(ipv4: bool, number: u8, prefix_from_end: u8) -> IpNetwork {
    let address: IpAddr = if ipv4 {
        Ipv4Addr::new(10, number, 0, 0).into()
    } else {
        Ipv6Addr::new(0xfd00, number.into(), 0, 0, 0, 0, 0, 0).into()
    };
    let width = if ipv4 { 32 } else { 128 };
    IpNetwork::new(address, width - prefix_from_end).unwrap()
}

fn offset(address: IpAddr, offset: u32) -> IpAddr {
    match address {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits() + offset).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() + u128::from(offset)).into(),
    }
}

prop_compose! {
    /// A range of at most 128 addresses with a start, an end and excludes, if its rules allow.
    fn small_range(number: u8)(
        ipv4: bool,
        bits in 1u8..=7,
        start in proptest::option::of(0u32..128),
        end in proptest::option::of(0u32..128),
        exclude in proptest::collection::vec((0u32..128, 0u8..=4), 0..6),
        retires in any::<bool>(),
    ) -> Option<Range> {
        let subnet = subnet(ipv4, number, bits);
        let size = 1u32 << bits;
        let at = |wanted: u32| offset(subnet.network(), wanted % size);
        let width = if ipv4 { 32 } else { 128 };
        let exclude = exclude.into_iter().map(|(wanted, host_bits)| {
            let network = IpNetwork::new(at(wanted), width - host_bits.min(bits)).unwrap();
            IpNetwork::new(network.network(), network.prefix()).unwrap()
        });
        let range = Range::new(subnet, start.map(at), end.map(at), exclude.collect()).ok();
        if retires { range.map(Range::retire) } else { range }
    }
}

fn range_file() -> impl Strategy<Value = RangeFile> {
    let node = |number: u8| {
        (small_range(number), small_range(number + 100)).prop_filter_map(
            "no range",
            move |(first, second)| {
                let ranges: Vec<_> = [first, second].into_iter().flatten().collect();
                let vtep = Ipv4Addr::new(192, 168, 50, number).into();
                let name = format!("node-{number}");
                (!ranges.is_empty()).then_some(Node { name, vtep, ranges })
            },
        )
    };
    let nodes = (node(1), node(2), node(3));
    (nodes, 1u32..=0x00ff_ffff, 1u16.., any::<bool>(), any::<bool>()).prop_map(
        |((a, b, c), vni, port, declared, direct_routing)| {
            let nodes = vec![a, b, c];
            let subnets = nodes.iter().flat_map(|node| node.ranges.iter().map(Range::subnet));
            let cluster_cidrs = if declared {
                vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()]
            } else {
                subnets.collect()
            };
            RangeFile { vni, port, cluster_cidrs, direct_routing, nodes }
        },
    )
}

/// The file with a fault; with some there is none.
fn broken(mut file: RangeFile, fault: usize) -> RangeFile {
    let cidr = |text: &str| -> IpNetwork { text.parse().unwrap() };
    let vtep = |text: &str| -> IpAddr { text.parse().unwrap() };
    let [first, second] = [file.nodes[0].clone(), file.nodes[1].clone()];
    let last = &mut file.nodes[2];
    match fault {
        0 => file.vni = 0,
        1 => file.vni = 1 << 24,
        2 => file.port = 0,
        3 => last.name = second.name,
        4 => last.name = "Node_3".to_owned(),
        5 => last.vtep = first.vtep,
        6 => last.vtep = vtep("fd00:9::1"),
        7 => last.vtep = vtep("127.0.0.1"),
        8 => last.vtep = vtep("::ffff:192.0.2.1"),
        9 => last.vtep = first.ranges[0].subnet().network(),
        10 => last.ranges.clear(),
        11 => last.ranges = second.ranges,
        12 => file.cluster_cidrs = vec![cidr("10.0.0.0/8"), cidr("fd00::/16"), cidr("10.9.0.0/16")],
        13 => file.cluster_cidrs = vec![cidr("10.1.0.7/8"), cidr("fd00::/16")],
        14 => file.cluster_cidrs = vec![cidr("172.16.0.0/12")],
        _ => {}
    }
    file
}

proptest! {
    #[test]
    fn nothing_panics_on_bytes(bytes: Vec<u8>) {
        parse_all(&bytes);
    }

    /// Bytes that are nearly right reach further than any bytes.
    #[test]
    fn nothing_panics_on_damage(
        name in prop::sample::select(vec![
            "range-design", "range-minimal", "network-full", "network-capitals",
        ]),
        at: prop::sample::Index,
        length in 0usize..12,
        put in "[\\[\\]{}\",:0-9a-fx./-]{0,6}",
    ) {
        let path = format!("{}/testdata/good/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = std::fs::read(path).unwrap();
        let at = at.index(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, put.into_bytes());
        parse_all(&bytes);
    }

    #[test]
    fn nothing_panics_on_arguments(text: String) {
        let _ = CniArgs::parse(&text);
        let _ = Version::parse(&text);
        let _ = Range::parse(&text);
        let _ = Invocation::from_env(|_| Some(text.clone().into()));
    }

    #[test]
    fn writing_a_range_file_loses_nothing(file in range_file()) {
        let read = RangeFile::parse(Path::new("/pods.json"), file.to_json().as_bytes());
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(file));
    }

    /// A file that breaks a rule is refused alike whether its text is read or not.
    #[test]
    fn a_range_file_is_checked_as_its_text_is(file in range_file(), fault in 0usize..16) {
        let file = broken(file, fault);
        let path = Path::new("/pods.json");
        let read = RangeFile::parse(path, file.to_json().as_bytes()).map(drop);
        let checked = file.check(path);
        prop_assert_eq!(checked.map_err(|e| e.to_string()), read.map_err(|e| e.to_string()));
    }

    #[test]
    fn writing_a_range_loses_nothing(range in small_range(1)) {
        if let Some(range) = range {
            let text = serde_json::to_string(&range).unwrap();
            prop_assert_eq!(serde_json::from_str::<Range>(&text).unwrap(), range);
        }
    }

    /// Following `next_after` visits what `gives` says, all of it, in order.
    #[test]
    fn next_after_visits_what_is_given(range in small_range(1)) {
        if let Some(range) = range {
            let size = 1u32 << 7;
            let given: Vec<_> = (0..size)
                .map(|wanted| offset(range.subnet().network(), wanted))
                .filter(|address| range.gives(*address))
                .collect();
            let visited: Vec<_> =
                std::iter::successors(range.next_after(None), |last| range.next_after(Some(*last)))
                    .collect();
            prop_assert_eq!(&visited, &given);
            // From any address, given or not, it is the next one given.
            for wanted in 0..size {
                let from = offset(range.subnet().network(), wanted);
                let next = given.iter().find(|address| **address > from).copied();
                prop_assert_eq!(range.next_after(Some(from)), next);
            }
        }
    }

    #[test]
    fn reading_a_result_never_panics(text in "[\\[\\]{}\",:0-9a-z./]{0,60}") {
        if let Ok(value) = serde_json::from_str(&text) {
            for version in Version::ALL {
                let _ = AddResult::from_json(&value, version);
            }
        }
    }
}
