//! The books of this node's leases, read again when they have changed.

use std::time::{Duration, SystemTime};

use flatnet_conf::NetworkConf;
use flatnet_ipam::Leases;

use crate::usage::Usage;

/// File times are as coarse as the kernel's tick: what was written this shortly before a look may have been
/// written again after it without a trace.
const SETTLED: Duration = Duration::from_secs(1);

/// The books.
#[derive(Debug)]
pub struct Books {
    conf: NetworkConf,
    node: String,
    /// When an address had been taken or given back last, if that is sure; `None` inside if there were no books.
    seen: Option<Option<SystemTime>>,
}

impl Books {
    /// Those of a network on the node of this name.
    pub fn of(conf: NetworkConf, node: String) -> Self {
        Self { conf, node, seen: None }
    }

    /// The addresses of all pods, or why they cannot be known; `None` if nothing has changed. No ADD waits for it.
    pub fn news(&mut self) -> Option<Result<Usage, String>> {
        match self.read() {
            Ok(usage) => usage.map(Ok),
            Err(error) => {
                self.seen = None;
                Some(Err(error.to_string()))
            }
        }
    }

    fn read(&mut self) -> flatnet_ipam::Result<Option<Usage>> {
        let now = SystemTime::now();
        let leases = Leases::existing(&self.conf.state_dir, &self.conf.name, &self.node)?;
        let changed = leases.as_ref().and_then(Leases::changed);
        if self.seen == Some(changed) {
            return Ok(None);
        }
        self.seen = changed.is_none_or(|time| is_settled(time, now)).then_some(changed);
        let held = leases.map(|leases| leases.held()).transpose()?;
        Ok(Some(held.into_iter().flatten().collect()))
    }
}

/// Whether what is written from now on bears another time. A clock that was set back is far from it as well.
fn is_settled(time: SystemTime, now: SystemTime) -> bool {
    now.duration_since(time).unwrap_or_else(|ahead| ahead.duration()) > SETTLED
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use flatnet_conf::Range;
    use flatnet_ipam::{Holder, Key, Request, node_folder};

    use super::*;
    use crate::conflist::conflist;
    use crate::fixture::{net, network};

    fn add(leases: &Leases, id: &str) {
        let (container_id, ifname) = (id.into(), "eth0".into());
        let attachment = Holder { container_id, ifname, ..Holder::default() };
        let ranges = [Range::parse("10.1.1.0/24").unwrap()];
        let request = Request { attachment: &attachment, ranges: &ranges, requested: &[] };
        let key = Key::new("pods", id, "eth0");
        let lease = leases.allocate(&key, &request, &mut |_| true, &mut |_| None).unwrap();
        lease.commit();
    }

    #[test]
    fn addresses_are_counted_when_they_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let filled = conflist(Path::new("n"), &network(), "a", Path::new("/r.json")).unwrap();
        let conf = NetworkConf { state_dir: folder.path().join("state"), ..filled.conf };
        let mut books = Books::of(conf.clone(), "a".to_owned());
        assert_eq!(books.news(), Some(Ok(Usage::default())), "no books are empty ones");
        assert_eq!(books.news(), None);

        let leases = Leases::create(&conf.state_dir, "pods", "a").unwrap();
        add(&leases, "one");
        let range = net("10.1.1.0/24");
        let used = |usage: Option<Result<Usage, String>>| usage.unwrap().unwrap().of(range);
        assert_eq!(used(books.news()), 1);
        add(&leases, "two");
        assert_eq!(used(books.news()), 2, "also at once");
        leases.release(&Key::new("pods", "one", "eth0"), None).unwrap();
        assert_eq!(used(books.news()), 1);

        let taken = node_folder(&conf.state_dir, "pods", "a").join("addresses");
        let (past, hour) = (SystemTime::now() - 2 * SETTLED, Duration::from_secs(3600));
        // The last is of before the clock was set back.
        for time in [past, past + hour] {
            File::open(&taken).unwrap().set_modified(time).unwrap();
            assert_eq!(used(books.news()), 1, "another time");
            assert_eq!(books.news(), None, "and the same");
        }

        fs::remove_dir_all(&taken).unwrap();
        fs::write(&taken, "").unwrap();
        assert!(books.news().unwrap().unwrap_err().contains(taken.to_str().unwrap()));
    }
}
