//! The books of this node's leases, read again when they have changed.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Leases, node_folder};

use crate::usage::Usage;

/// File times are as coarse as the kernel's tick: what was written this shortly before a look may have been
/// written again after it without a trace.
const SETTLED: Duration = Duration::from_secs(1);

/// The books.
#[derive(Debug)]
pub struct Books {
    conf: NetworkConf,
    node: String,
    /// When the folders of leases and addresses had changed last; `None` for one that was not there.
    seen: Option<[Option<SystemTime>; 2]>,
}

impl Books {
    /// Those of a network on the node of this name.
    pub fn of(conf: NetworkConf, node: String) -> Self {
        Self { conf, node, seen: None }
    }

    /// The addresses of all pods, or why they cannot be known; `None` if nothing has changed.
    pub fn news(&mut self) -> Option<Result<Usage, String>> {
        let now = SystemTime::now();
        let times =
            self.folders().map(|folder| fs::metadata(folder).and_then(|m| m.modified()).ok());
        if self.seen == Some(times) {
            return None;
        }
        let settled = |time: &SystemTime| now.duration_since(*time).is_ok_and(|age| age > SETTLED);
        self.seen = times.iter().flatten().all(settled).then_some(times);
        let usage = self.read();
        if usage.is_err() {
            self.seen = None;
        }
        Some(usage)
    }

    fn folders(&self) -> [PathBuf; 2] {
        let Self { conf, node, .. } = self;
        let folder = node_folder(&conf.state_dir, &conf.name, node);
        [folder.join("leases"), folder.join("addresses")]
    }

    fn read(&self) -> Result<Usage, String> {
        let leases = Leases::existing(&self.conf.state_dir, &self.conf.name, &self.node);
        let listing = leases.and_then(|leases| leases.map(|leases| leases.list()).transpose());
        let listing = listing.map_err(|e| e.to_string())?.unwrap_or_default();
        // One that is illegible may have any address.
        if let Some(error) = listing.broken.first() {
            return Err(error.to_string());
        }
        Ok(listing.leases.iter().flat_map(|lease| lease.addresses.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flatnet_conf::Range;
    use flatnet_ipam::{Holder, Key, Request};

    use super::*;
    use crate::conflist::conflist;
    use crate::fixture::{net, network};

    fn add(leases: &Leases, id: &str) {
        let attachment =
            Holder { container_id: id.into(), ifname: "eth0".into(), ..Holder::default() };
        let ranges = [Range::parse("10.1.1.0/24").unwrap()];
        let request = Request { attachment: &attachment, ranges: &ranges, requested: &[] };
        let key = Key::new("pods", id, "eth0");
        let lease = leases.allocate(&key, &request, &mut |_| true, &mut |_| None).unwrap();
        lease.commit();
    }

    #[test]
    fn leases_are_counted_when_they_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let filled = conflist(Path::new("n"), &network(), "a", Path::new("/r.json")).unwrap();
        let conf = NetworkConf { state_dir: folder.path().join("state"), ..filled.conf };
        let mut books = Books::of(conf.clone(), "a".to_owned());
        assert_eq!(books.news(), Some(Ok(Usage::default())), "no books are empty ones");
        assert_eq!(books.news(), None);

        let leases = Leases::create(&conf.state_dir, "pods", "a").unwrap();
        add(&leases, "one");
        let used =
            |usage: Option<Result<Usage, String>>| usage.unwrap().unwrap().of(net("10.1.1.0/24"));
        assert_eq!(used(books.news()), 1);
        add(&leases, "two");
        assert_eq!(used(books.news()), 2, "also at once");
        leases.release(&Key::new("pods", "one", "eth0"), None).unwrap();
        assert_eq!(used(books.news()), 1);

        let lease =
            fs::read_dir(books.folders()[0].clone()).unwrap().next().unwrap().unwrap().path();
        fs::write(&lease, "{").unwrap();
        assert!(books.news().unwrap().unwrap_err().contains(lease.to_str().unwrap()));
    }
}
