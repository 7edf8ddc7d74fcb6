//! Files of a node's lease folder, of any content: no address is held twice, a healthy pod keeps
//! what it has, the next pod gets an address, and what is damaged can be released and reclaimed.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use flatnet_conf::Range;
use flatnet_ipam::{Error, Holder, Key, Leases, Record, Request, node_folder};

use crate::reply::refusal;

const NETWORK: &str = "pods";
const NODE: &str = "node-a";

/// The bytes, cut at NULs, as the lease of an attachment, the content of `lock`, and an address
/// that no lease is behind.
pub fn lease(data: &[u8]) {
    record(data);
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let state = tempfile::tempdir().expect("a folder");
    let bystander = state.path().join("bystander");
    fs::write(&bystander, "mine").expect("write");
    damaged(state.path(), part(), part(), part());
    assert_eq!(fs::read(&bystander).ok().as_deref(), Some(&b"mine"[..]));
    assert_eq!(names(state.path()), ["bystander", NETWORK]);
}

fn record(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let text = serde_json::to_string(&record).expect("a record is text");
        assert_eq!(serde_json::from_str::<Record>(&text).ok(), Some(record));
    }
}

fn damaged(state: &Path, lease: &[u8], lock: &[u8], orphan: &[u8]) {
    let leases = Leases::create(state, NETWORK, NODE).expect("a folder of our own");
    let folder = node_folder(state, NETWORK, NODE);
    // From the first address on: none of the two has the one that no lease is behind.
    fs::write(folder.join("lock"), r#"{"4":"10.1.0.0","6":"fd00::"}"#).expect("write");
    let healthy = add(&leases, "healthy").expect("an empty range");
    let hurt = add(&leases, "hurt").expect("a nearly empty range");
    // In its place, so that the addresses are still names of it.
    fs::write(folder.join("leases").join(key("hurt").as_str()), lease).expect("write");
    fs::write(folder.join("lock"), lock).expect("write");
    let orphaned: IpAddr = [10, 1, 0, 6].into();
    fs::write(folder.join("addresses").join(orphaned.to_string()), orphan).expect("write");

    let listing = leases.list().expect("the folder is legible");
    assert!(listing.leases.iter().any(|record| record.attachment.container_id == "healthy"));
    listing.broken.into_iter().for_each(refusal);
    leases.get(&key("hurt")).err().into_iter().for_each(refusal);

    let new = add(&leases, "new").expect("an address is left");
    let mut held: BTreeSet<IpAddr> = [orphaned].into();
    for address in healthy.iter().chain(&hurt).chain(&new) {
        assert!(held.insert(*address), "{address} is held twice");
    }
    // The same attachment again, with whatever is left of its lease.
    let again = add(&leases, "hurt").expect("a repeated ADD repairs its lease");
    for address in &again {
        assert!(!healthy.contains(address) && !new.contains(address) && *address != orphaned);
    }
    leases.release(&key("hurt"), None).expect("a lease is released, whatever it says");
    fs::write(folder.join("leases").join(key("hurt").as_str()), lease).expect("write");

    // What was made for another main plugin is collected, the rest reclaimed.
    let collected = leases.collect(&mut |_| false).expect("the folder is legible");
    let lives = |id: &str| id == "healthy";
    let reclaimed = leases.reclaim(&mut |candidate| {
        candidate.record.as_ref().is_some_and(|record| lives(&record.attachment.container_id))
            && candidate.key == Some(key("healthy"))
    });
    let reclaimed = reclaimed.expect("the folder is legible");
    assert!(collected.errors.is_empty() && reclaimed.errors.is_empty());
    let addresses: Vec<String> = healthy.iter().map(IpAddr::to_string).collect();
    assert_eq!(names(&folder.join("addresses")), addresses);
    assert_eq!(names(&folder.join("leases")), [key("healthy").as_str()]);
    assert_eq!(leases.get(&key("healthy")).ok().flatten().map(|r| r.addresses), Some(healthy));
}

fn key(container: &str) -> Key {
    Key::new(NETWORK, container, "eth0")
}

fn add(leases: &Leases, container: &str) -> Result<Vec<IpAddr>, Error> {
    let attachment = Holder {
        container_id: container.to_owned(),
        ifname: "eth0".to_owned(),
        veth: "veth0".to_owned(),
        netns: 1,
        ..Holder::default()
    };
    let ranges = ["10.1.0.0/29", "fd00::/64"].map(|text| Range::parse(text).expect("a range"));
    let request = Request { attachment: &attachment, ranges: &ranges, requested: &[] };
    let lease = leases.allocate(&key(container), &request, &mut |_| true, &mut |_| None)?;
    let addresses = lease.addresses().to_vec();
    lease.commit();
    Ok(addresses)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
