//! A network configuration that is accepted leads nowhere but where it says, for each verb, and for
//! flatnet and flatnet-ipam alike.

use std::iter::successors;
use std::path::{Component, Path};

use flatnet_conf::{AddressSource, Command, Error, IpamConf, NetworkConf, RangeSet};
use flatnet_ipam::{Key, network_folder, node_folder};
use serde_json::Value;

use crate::reply::{answer, environment, invocation};

const COMMANDS: [Command; 6] =
    [Command::Add, Command::Check, Command::Del, Command::Gc, Command::Status, Command::Version];

/// The bytes on standard input of every verb, and as a file of a runtime's configuration folder.
pub fn network(data: &[u8]) {
    for command in COMMANDS {
        answer(environment(command), data, |invocation, input| {
            let conf = NetworkConf::parse(&input, &invocation)?;
            plugin_accepted(&conf, command);
            Ok::<_, Error>(None)
        });
        answer(environment(command), data, |invocation, input| {
            let conf = IpamConf::parse(&input, &invocation)?;
            ipam_accepted(&conf, command);
            Ok::<_, Error>(None)
        });
    }
    answer(environment(Command::Add), data, |_, input| {
        for conf in NetworkConf::parse_file(Path::new("/etc/cni/net.d/pods.conflist"), &input)? {
            plugin_accepted(&conf, Command::Status);
        }
        Ok::<_, Error>(None)
    });
    another_spelling_means_the_same(data);
    what_add_takes_del_takes(data);
}

fn plugin_accepted(conf: &NetworkConf, command: Command) {
    assert_within(&conf.state_dir, &conf.name);
    if let Some(node) = &conf.node {
        let folder = node_folder(&conf.state_dir, &conf.name, node);
        assert_child(&folder, &network_folder(&conf.state_dir, &conf.name));
    }
    let lenient = matches!(command, Command::Del | Command::Gc);
    assert!(lenient || conf.range_file.is_some(), "{command:?} without a range file");
    for path in [&conf.range_file, &conf.log_file].into_iter().flatten() {
        assert_path(path);
    }
    if let Some(name) = &conf.ipam {
        assert_child(&Path::new("/opt/cni/bin").join(name), Path::new("/opt/cni/bin"));
    }
    assert!(conf.mtu.is_none_or(|mtu| (68..=65_535).contains(&mtu)), "{:?}", conf.mtu);
    for (index, route) in conf.routes.iter().flatten().enumerate() {
        assert_eq!(route.ip(), route.network());
        assert!(!conf.routes.iter().flatten().take(index).any(|other| other == route));
    }
    assert!(conf.mac.is_none_or(|mac| mac.0[0] & 1 == 0), "a multicast MAC");
}

fn ipam_accepted(conf: &IpamConf, command: Command) {
    for folder in [&conf.state_dir, &conf.data_dir] {
        assert_within(folder, &conf.name);
    }
    conf.resolv_conf.iter().for_each(|path| assert_path(path));
    match &conf.source {
        None => assert!(matches!(command, Command::Del | Command::Gc)),
        Some(AddressSource::RangeFile { path, .. }) => assert_path(path),
        Some(AddressSource::Sets(sets)) => {
            for (index, set) in sets.iter().enumerate() {
                assert_set(set, sets.iter().take(index));
            }
        }
    }
}

/// A set gives addresses in its ranges, no gateway, and none that an earlier set gives.
fn assert_set<'a>(set: &RangeSet, earlier: impl Iterator<Item = &'a RangeSet> + Clone) {
    for range in set.ranges() {
        let given = successors(range.next_after(None), |last| range.next_after(Some(*last)));
        for address in given.take(16) {
            assert!(range.covers(address) && range.subnet().contains(address), "{address}");
            assert_ne!(address, range.gateway());
            assert_eq!(set.ranges().iter().filter(|range| range.covers(address)).count(), 1);
            let twice = earlier.clone().any(|other| other.covering(address).is_some());
            assert!(!twice, "{address} is in two sets");
        }
    }
}

/// A network's folder lies in the state folder, whatever its name, and its leases in that.
fn assert_within(state_dir: &Path, network: &str) {
    assert_path(state_dir);
    let folder = network_folder(state_dir, network);
    assert_child(&folder, state_dir);
    let key = Key::new(network, "c1", "eth0");
    assert_child(&folder.join(key.as_str()), &folder);
}

fn assert_child(path: &Path, folder: &Path) {
    let inside = path.strip_prefix(folder).expect("below the folder");
    let mut parts = inside.components();
    let name = parts.next().expect("a name of its own");
    assert!(matches!(name, Component::Normal(_)) && parts.next().is_none(), "{path:?}");
    assert!(name.as_os_str().len() <= 255, "{path:?} is too long a name");
}

fn assert_path(path: &Path) {
    let bytes = path.as_os_str().as_encoded_bytes();
    assert!(path.is_absolute() && !bytes.contains(&0), "{path:?}");
}

fn another_spelling_means_the_same(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let text = serde_json::to_vec(&value).expect("JSON");
    for command in COMMANDS {
        let read = |bytes| NetworkConf::parse(bytes, &invocation(command)).ok();
        assert_eq!(read(data), read(&text), "{command:?}");
    }
}

/// What was set up can be cleaned up.
fn what_add_takes_del_takes(data: &[u8]) {
    let read = |command| NetworkConf::parse(data, &invocation(command)).ok();
    if let Some(added) = read(Command::Add) {
        assert_eq!(read(Command::Del), Some(added), "DEL reads what ADD read");
    }
}
