//! Files of a host-local folder, of any content: no address is held twice, a healthy attachment
//! keeps what it has, and the next one gets an address.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::{AddressSource, AttachmentId, Command, IpamConf, RangeSet};
use flatnet_ipam::{Error, HostLocal};

use crate::reply::{invocation, refusal};

const CONFIGURATION: &[u8] = br#"{ "cniVersion": "1.1.0", "name": "pods", "ipam": {
    "type": "flatnet-ipam", "ranges": [[{ "subnet": "10.1.0.0/29" }], [{ "subnet": "fd00::/64" }]] } }"#;

/// The bytes, cut at NULs, as the content of an address and of the last address given of a set.
pub fn host_local(data: &[u8]) {
    let (address, last) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let folder = tempfile::tempdir().expect("a folder");
    damaged(folder.path(), address, last);
}

fn damaged(data_dir: &Path, address: &[u8], last: &[u8]) {
    let leases = HostLocal::create(data_dir, "pods").expect("a folder of our own");
    let sets = sets();
    let held = |container: &str| leases.held_by(&id(container)).expect("legible");
    let add = |container: &str| -> Result<Vec<IpAddr>, Error> {
        let given = leases.allocate(&id(container), &sets, &[])?;
        Ok(given.iter().map(|given| given.address.ip()).collect())
    };
    let healthy = add("healthy").expect("an empty set");
    let foreign: IpAddr = [10, 1, 0, 4].into();
    fs::write(data_dir.join("pods/10.1.0.4"), address).expect("write");
    fs::write(data_dir.join("pods/last_reserved_ip.0"), last).expect("write");
    fs::write(data_dir.join("pods/last_reserved_ip.1"), last).expect("write");

    let before = held("new");
    let new = add("new").expect("addresses are left");
    assert!(!healthy.iter().any(|address| new.contains(address)), "{new:?} is held twice");
    // The damaged file may happen to say that it is the new one's.
    assert!(!new.contains(&foreign) || before.contains(&foreign), "{foreign} is held twice");
    assert_eq!(add("new").expect("the same again"), new);
    let mut all = held("new");
    all.sort();
    let mut expected = new.clone();
    expected.sort();
    assert_eq!(all, expected, "holds what it was given, and no more");
    if let Err(error) = leases.allocate(&id("other"), &sets, &[foreign]) {
        refusal(error);
    }
    assert!(!leases.release(&id("new")).expect("released").is_empty());
    assert_eq!(held("new"), [] as [IpAddr; 0]);

    let (_, errors) = leases.retain(&[id("healthy")]).expect("legible");
    assert!(errors.is_empty(), "{errors:?}");
    let mut left = held("healthy");
    left.retain(|address| *address != foreign);
    assert_eq!(left, healthy);
}

fn sets() -> Vec<RangeSet> {
    let conf = IpamConf::parse(CONFIGURATION, &invocation(Command::Add)).expect("a configuration");
    match conf.source {
        Some(AddressSource::Sets(sets)) => sets,
        other => panic!("{other:?}"),
    }
}

fn id(container: &str) -> AttachmentId {
    AttachmentId { container_id: container.to_owned(), ifname: "eth0".to_owned() }
}
