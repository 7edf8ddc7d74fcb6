//! What is on disk after each step, as host-local itself would have it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;

use flatnet_conf::{AddressSource, Command, Invocation, IpamConf};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::fixture::addresses;

/// Range sets as `ipam.ranges` has them.
pub(super) fn sets(ranges: &Value) -> Vec<RangeSet> {
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "ipam": {"ranges": ranges}});
    let invocation = Invocation {
        command: Command::Add,
        container_id: "c1".to_owned(),
        netns: None,
        ifname: "eth0".to_owned(),
        path: Vec::new(),
        args: Default::default(),
        netns_override: false,
    };
    let conf = IpamConf::parse(conf.to_string().as_bytes(), &invocation).unwrap();
    match conf.source {
        Some(AddressSource::Sets(sets)) => sets,
        other => panic!("{other:?}"),
    }
}

fn owner(container: &str, ifname: &str) -> AttachmentId {
    AttachmentId { container_id: container.to_owned(), ifname: ifname.to_owned() }
}

/// A network with two sets.
struct Net {
    data_dir: TempDir,
    sets: Vec<RangeSet>,
    leases: HostLocal,
}

impl Net {
    fn new() -> Net {
        let data_dir = tempfile::tempdir().unwrap();
        let sets = sets(&json!([[{"subnet": "10.1.0.0/29"}], [{"subnet": "fd00::/126"}]]));
        let leases = HostLocal::create(data_dir.path(), "net").unwrap();
        Net { data_dir, sets, leases }
    }

    fn add(&self, container: &str, requested: &[&str]) -> Result<Vec<String>> {
        let owner = owner(container, "eth0");
        let given = self.leases.allocate(&owner, &self.sets, &addresses(requested))?;
        Ok(given.iter().map(|given| format!("{} {}", given.address, given.gateway)).collect())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data_dir.path().join("net").join(name)
    }

    /// Every file with its content.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap());
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        };
        entries.map(file).collect()
    }

    fn assert_files(&self, expected: &[(&str, &str)]) {
        let text = |(name, content): &(&str, &str)| (name.to_string(), content.to_string());
        assert_eq!(self.files(), expected.iter().map(text).collect());
    }
}

#[test]
fn the_files_are_those_of_host_local() {
    let net = Net::new();
    assert_eq!(net.add("a", &[]).unwrap(), ["10.1.0.2/29 10.1.0.1", "fd00::2/126 fd00::1"]);
    net.assert_files(&[
        ("lock", ""),
        ("10.1.0.2", "a\r\neth0"),
        ("fd00::2", "a\r\neth0"),
        ("last_reserved_ip.0", "10.1.0.2"),
        ("last_reserved_ip.1", "fd00::2"),
    ]);
    assert_eq!(
        net.leases.held_by(&owner("a", "eth0")).unwrap(),
        addresses(&["10.1.0.2", "fd00::2"])
    );
    assert_eq!(net.leases.release(&owner("a", "eth0")).unwrap().len(), 2);
    assert_eq!(net.leases.release(&owner("a", "eth0")).unwrap(), addresses(&[]));
    assert_eq!(net.add("b", &[]).unwrap(), ["10.1.0.3/29 10.1.0.1", "fd00::3/126 fd00::1"]);
}

#[test]
fn the_same_attachment_keeps_its_addresses() {
    let net = Net::new();
    let first = net.add("a", &[]).unwrap();
    let before = net.files();
    assert_eq!(net.add("a", &[]).unwrap(), first);
    assert_eq!(net.files(), before);
    // Another interface of the container is another attachment.
    let second = net.leases.allocate(&owner("a", "net1"), &net.sets, &[]).unwrap();
    assert_eq!(second[0].address.to_string(), "10.1.0.3/29");
    // What it asks for takes the place of what it had.
    net.add("a", &["10.1.0.6"]).unwrap();
    assert_eq!(
        net.leases.held_by(&owner("a", "eth0")).unwrap(),
        addresses(&["10.1.0.6", "fd00::2"])
    );
    assert_eq!(
        net.leases.held_by(&owner("a", "net1")).unwrap(),
        addresses(&["10.1.0.3", "fd00::3"])
    );
}

#[test]
fn a_failure_leaves_nothing() {
    let net = Net::new();
    net.add("a", &["fd00::2"]).unwrap();
    net.add("b", &["fd00::3"]).unwrap();
    let before = net.files();
    let cases: [(&[&str], u32, &str); 3] = [
        (
            &[],
            100,
            "no address left in fd00::1-fd00::3: add a range to this set, or delete attachments",
        ),
        (
            &["fd00::2"],
            101,
            "the requested address fd00::2 is taken by interface eth0 of container a: request another, or delete that one",
        ),
        (
            &["10.1.0.5", "192.0.2.1"],
            100,
            "no address left in fd00::1-fd00::3: add a range to this set, or delete attachments",
        ),
    ];
    for (requested, code, text) in cases {
        let error = net.add("c", requested).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
        assert_eq!(net.files(), before, "{requested:?}");
    }
}

#[test]
fn leases_of_host_local_itself_are_honoured() {
    let net = Net::new();
    for (name, content) in [
        ("10.1.0.2", "other\r\neth0"),
        // Before version 0.9 there was no ifname; some versions end the line.
        ("10.1.0.3", "old"),
        ("fd00::2", "old\n"),
        // A crash leaves it empty.
        ("10.1.0.4", ""),
        ("last_reserved_ip.0", "10.1.0.3"),
        ("unfinished.new", "half"),
    ] {
        fs::write(net.path(name), content).unwrap();
    }
    assert_eq!(net.add("a", &[]).unwrap(), ["10.1.0.5/29 10.1.0.1", "fd00::3/126 fd00::1"]);
    assert!(!net.path("unfinished.new").exists());
    let error = net.add("b", &["10.1.0.4"]).unwrap_err().to_string();
    assert!(error.contains("/net/10.1.0.4, which is no legible lease"), "{error}");
    assert_eq!(
        net.leases.release(&owner("old", "eth0")).unwrap(),
        addresses(&["10.1.0.3", "fd00::2"])
    );
    assert_eq!(net.leases.release(&owner("other", "net1")).unwrap(), addresses(&[]));
    assert_eq!(net.leases.release(&owner("other", "eth0")).unwrap(), addresses(&["10.1.0.2"]));
}

#[test]
fn an_old_lease_is_not_lost_beside_a_new_one() {
    let net = Net::new();
    fs::write(net.path("10.1.0.4"), "a").unwrap();
    // The second set is new to the attachment.
    assert_eq!(net.add("a", &[]).unwrap(), ["10.1.0.4/29 10.1.0.1", "fd00::2/126 fd00::1"]);
    assert_eq!(net.files()["10.1.0.4"], "a\r\neth0");
    let both = addresses(&["10.1.0.4", "fd00::2"]);
    assert_eq!(net.leases.release(&owner("a", "eth0")).unwrap(), both);
}

#[test]
fn what_the_runtime_does_not_know_goes() {
    let net = Net::new();
    net.add("a", &[]).unwrap();
    net.add("b", &[]).unwrap();
    fs::write(net.path("10.1.0.4"), "").unwrap();
    fs::write(net.path("10.1.0.5"), "b").unwrap();
    let (freed, errors) = net.leases.retain(&[owner("b", "eth0"), owner("a", "net1")]).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(freed, addresses(&["10.1.0.2", "10.1.0.4", "fd00::2"]));
    assert_eq!(
        net.leases.held_by(&owner("b", "eth0")).unwrap(),
        addresses(&["10.1.0.3", "fd00::3"])
    );
    // A folder in the place of an address does not keep the others.
    fs::create_dir(net.path("10.1.0.1")).unwrap();
    let (freed, errors) = net.leases.retain(&[]).unwrap();
    assert_eq!(freed, addresses(&["10.1.0.3", "10.1.0.5", "fd00::3"]));
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn nothing_is_made_by_looking() {
    let data_dir = tempfile::tempdir().unwrap();
    assert!(HostLocal::existing(data_dir.path(), "net").unwrap().is_none());
    assert_eq!(fs::read_dir(data_dir.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_leads_elsewhere_is_refused() {
    let (data_dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), data_dir.path().join("net")).unwrap();
    let error = HostLocal::create(data_dir.path(), "net").unwrap_err();
    assert!(error.to_string().contains("it is a symbolic link"), "{error}");
}

#[test]
fn side_by_side_all_addresses_differ() {
    let net = Net::new();
    let sets = sets(&json!([[{"subnet": "10.1.0.0/24"}]]));
    let all: Vec<IpAddr> = thread::scope(|scope| {
        let add = |n| {
            let (net, sets) = (&net, &sets);
            scope.spawn(move || {
                let given = net.leases.allocate(&owner(&format!("c{n}"), "eth0"), sets, &[]);
                given.unwrap()[0].address.ip()
            })
        };
        let threads: Vec<_> = (0..40).map(add).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = all.clone();
    sorted.sort();
    let expected: Vec<IpAddr> = (2..42).map(|last| [10, 1, 0, last].into()).collect();
    assert_eq!(sorted, expected);
}
