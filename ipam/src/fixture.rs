//! A node to test on, and an audit of what is on its disk.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_conf::Range;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::store::Store as _;
use crate::{Candidate, Error, Holder, Key, Lease, Leases, Request};

pub(crate) const NETWORK: &str = "pods";
pub(crate) const NODE: &str = "node-a";
/// The inode of the node's network namespace.
pub(crate) const NETNS: u64 = 4026531840;

/// A node with ranges and a state folder of its own, removed in the end.
pub(crate) struct Fixture {
    pub state: TempDir,
    pub ranges: Vec<Range>,
    pub leases: Leases,
}

impl Fixture {
    /// Its addresses begin with the first of each family.
    pub fn new(ranges: &[&str]) -> Fixture {
        let fixture = Fixture::after_a_reboot(ranges);
        let first = |v4| {
            let mut subnets = fixture.ranges.iter().map(Range::subnet);
            subnets.find(|subnet| subnet.is_ipv4() == v4).map(|subnet| subnet.network())
        };
        let cursor = serde_json::json!({ "4": first(true), "6": first(false) });
        let disk = Disk::existing(fixture.state.path(), NETWORK, NODE).unwrap().unwrap();
        disk.lock().unwrap().set_cursor(&serde_json::from_value(cursor).unwrap()).unwrap();
        fixture
    }

    /// No address was given yet.
    pub fn after_a_reboot(ranges: &[&str]) -> Fixture {
        let state = tempfile::tempdir().unwrap();
        let leases = Leases::create(state.path(), NETWORK, NODE).unwrap();
        Fixture { state, ranges: parse(ranges), leases }
    }

    /// An ADD that stands, of a container's eth0, with nothing alive to be reclaimed.
    pub fn add(&self, container: &str, requested: &[&str]) -> Result<Vec<IpAddr>, Error> {
        let lease = self.begin(container, requested)?;
        let addresses = lease.addresses().to_vec();
        lease.commit();
        Ok(addresses)
    }

    /// An ADD under way.
    pub fn begin(&self, container: &str, requested: &[&str]) -> Result<Lease, Error> {
        self.begin_among(container, requested, &mut |_| true)
    }

    pub fn begin_among(
        &self,
        container: &str,
        requested: &[&str],
        alive: &mut dyn FnMut(&Candidate) -> bool,
    ) -> Result<Lease, Error> {
        let attachment = attachment(container);
        let requested = addresses(requested);
        let request =
            Request { attachment: &attachment, ranges: &self.ranges, requested: &requested };
        self.leases.allocate(&key(container), &request, alive, &mut |_| None)
    }

    pub fn folder(&self) -> PathBuf {
        crate::node_folder(self.state.path(), NETWORK, NODE)
    }

    pub fn lease_path(&self, container: &str) -> PathBuf {
        self.folder().join("leases").join(key(container).as_str())
    }

    pub fn address_path(&self, address: &str) -> PathBuf {
        self.folder().join("addresses").join(address)
    }

    /// Who holds which addresses, after checking that leases and addresses agree to the letter.
    pub fn audit(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let listing = self.leases.list().unwrap();
        assert!(listing.broken.is_empty(), "{:?}", listing.broken);
        let mut held = BTreeMap::new();
        for record in listing.leases {
            let container = record.attachment.container_id;
            for address in &record.addresses {
                let path = self.address_path(&address.to_string());
                let owner = crate::lock::read(&path).unwrap().unwrap().attachment.container_id;
                assert_eq!(owner, container, "{address}");
            }
            held.insert(container, record.addresses);
        }
        let names = crate::disk::names(&self.folder().join("addresses")).unwrap();
        assert_eq!(names.len(), held.values().flatten().count(), "{names:?} against {held:?}");
        assert_eq!(fs::read_dir(self.folder().join("leases")).unwrap().count(), held.len());
        held
    }
}

pub(crate) fn key(container: &str) -> Key {
    Key::new(NETWORK, container, "eth0")
}

pub(crate) fn attachment(container: &str) -> Holder {
    Holder {
        container_id: container.to_owned(),
        ifname: "eth0".to_owned(),
        veth: format!("veth{}", key(container).as_str().get(..11).unwrap()),
        netns: NETNS,
        ..Holder::default()
    }
}

pub(crate) fn parse(ranges: &[&str]) -> Vec<Range> {
    ranges.iter().map(|text| Range::parse(text).unwrap()).collect()
}

pub(crate) fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
