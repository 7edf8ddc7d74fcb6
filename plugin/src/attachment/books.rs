//! The books follow the pods. The kernel is the store of what is: leases that were lost, or left in another
//! folder, are made again from the node's ends of the veth pairs; and those under an earlier name of
//! the node move to the present one, so that nothing is kept twice.
//!
//! An attachment that never came to its end gets none; it is only told of. Where another IPAM plugin gives
//! the addresses, the books are its own.

use std::collections::BTreeSet;

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Key, Leases, Record};

use crate::attachment::sandboxes::Sandboxes;
use crate::attachment::unleased::{self, Ends, still_stands};
use crate::error::Error;
use crate::identity::{key, veth_name};
use crate::kernel::{Link, Mode, Observe};
use crate::overlay::stamp::Stamp;

/// The books of one network on this node.
pub struct Books<'a> {
    /// The network.
    pub conf: &'a NetworkConf,
    /// The node's name in the range file.
    pub node: &'a str,
    /// Inode of the node's network namespace.
    pub own: u64,
    /// Whether they are changed.
    pub mode: Mode,
}

/// What the books lacked.
#[derive(Debug, Default)]
pub struct Kept {
    /// The leases that were made again, or would be.
    pub leases: Vec<Record>,
    /// The node's ends of attachments without a lease that never came to their end.
    pub unfinished: Vec<Link>,
    /// What could not be done, although the rest was.
    pub problems: Vec<String>,
}

impl Books<'_> {
    /// Makes leases again, and takes over those under an earlier name.
    ///
    /// # Errors
    /// The kernel cannot be asked, or the state folder cannot be read or written.
    pub fn keep(&self, kernel: &mut dyn Observe) -> Result<Kept, Error> {
        let Self { conf, .. } = self;
        let (mut kept, ours) = (Kept::default(), conf.ipam.is_none());
        // Before the leases: an ADD writes its lease before it makes its veth.
        let ends = Ends::look(kernel, &conf.name)?;
        if ours && self.mode == Mode::Apply {
            self.take_over(&mut kept)?;
        }
        let leased = self.leased()?;
        let finished = if ours { ends.finished } else { Vec::new() };
        let lost = unleased::without_lease(kernel, finished, &leased)?;
        kept.unfinished = unleased::without_lease(kernel, ends.unfinished, &leased)?;
        if lost.is_empty() && kept.unfinished.is_empty() {
            return Ok(kept);
        }
        let sandboxes = Sandboxes::look()?;
        if !ours {
            // An ADD that has no lease to show may be at it.
            kept.unfinished.retain(|end| sandboxes.is_gone(end));
        }
        let records = self.records(kernel, &lost, &sandboxes)?;
        self.restore(kernel, &lost, records, &mut kept)?;
        Ok(kept)
    }

    /// The same for a call that is about something else: what cannot be kept does not stop it.
    pub fn keep_along(&self, kernel: &mut dyn Observe) {
        match self.keep(kernel) {
            Ok(kept) => kept.problems.iter().for_each(|problem| log::warn!("{problem}")),
            Err(e) => log::warn!("leases that were lost cannot be made again: {e}"),
        }
    }

    fn take_over(&self, kept: &mut Kept) -> Result<(), Error> {
        let Self { conf, own, .. } = *self;
        // What cannot be opened is told of by those who look for pods there.
        for earlier in Leases::everywhere(&conf.state_dir, &conf.name).flatten() {
            let name = earlier.node();
            if name == self.node || Stamp::of(conf, name, own).is_none() {
                continue;
            }
            let leases = Leases::create(&conf.state_dir, &conf.name, self.node)?;
            let moved = leases.take_over(&earlier, own)?;
            for Record { attachment, .. } in &moved.leases {
                log::info!("the lease of {attachment} lies under {} now, not {name}", self.node);
            }
            if moved.errors.is_empty() && !moved.under_way {
                // Until then it tells whose they are.
                Stamp::forget(conf, name)?;
            }
            kept.problems.extend(moved.errors.iter().map(ToString::to_string));
        }
        Ok(())
    }

    /// The names of the node's ends that leases of this node tell of.
    fn leased(&self) -> Result<BTreeSet<String>, Error> {
        let Self { conf, node, own, .. } = *self;
        let mut leased = BTreeSet::new();
        for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
            let leases = leases?;
            if leases.node() == node {
                leased.extend(leases.keys()?.iter().map(veth_name));
            } else {
                let all = leases.list()?.leases.into_iter().map(|lease| lease.attachment);
                leased.extend(all.filter(|holder| holder.netns == own).map(|holder| holder.veth));
            }
        }
        Ok(leased)
    }

    /// The leases that attachments should have, in their order. One to which no route leads shows no address to keep.
    fn records(
        &self,
        kernel: &mut dyn Observe,
        lost: &[Link],
        sandboxes: &Sandboxes,
    ) -> Result<Vec<Record>, Error> {
        let mut records = unleased::records(kernel, &self.conf.name, lost)?;
        for record in &mut records {
            let end = lost.iter().find(|end| end.dev.name == record.attachment.veth);
            record.attachment.netns = self.own;
            record.attachment.sandbox =
                end.and_then(|end| sandboxes.path_of(end)).map(str::to_owned);
        }
        records.retain(|record| !record.addresses.is_empty());
        Ok(records)
    }

    fn restore(
        &self,
        kernel: &mut dyn Observe,
        lost: &[Link],
        records: Vec<Record>,
        kept: &mut Kept,
    ) -> Result<(), Error> {
        let Self { conf, .. } = self;
        if self.mode == Mode::Plan || records.is_empty() {
            kept.leases = records;
            return Ok(());
        }
        let mut stands = |record: &Record| {
            let end = lost.iter().find(|end| end.dev.name == record.attachment.veth);
            // In doubt it stands: GC clears away a lease that no pod needs.
            end.is_some_and(|end| still_stands(kernel, end).unwrap_or(true))
        };
        let leases = Leases::create(&conf.state_dir, &conf.name, self.node)?;
        let keyed = records.into_iter().map(|record| (key(&conf.name, &record.attachment), record));
        let done = leases.restore(keyed.collect(), &mut stands)?;
        for Record { attachment, addresses } in &done.leases {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            log::warn!("{attachment} had no lease: made again, {}", addresses.join(", "));
        }
        kept.leases = done.leases;
        kept.problems.extend(done.errors.iter().map(ToString::to_string));
        Ok(())
    }
}

/// The lease of an attachment in this network namespace, under whatever name the node had then.
///
/// # Errors
/// The state folder cannot be read.
pub fn lease(conf: &NetworkConf, own: u64, key: &Key) -> Result<Option<Record>, Error> {
    for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
        let lease = leases?.get(key)?.filter(|lease| lease.attachment.netns == own);
        if lease.is_some() {
            return Ok(lease);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;

    use super::*;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Change, Kernel as _, LinkKind, Route};

    /// A network with its state in a folder.
    fn conf(state_dir: &std::path::Path, more: &str) -> NetworkConf {
        let text = format!(
            r#"{{"cniVersion":"1.1.0","name":"pods","type":"flatnet","rangeFile":"/r.json",
                "stateDir":{state_dir:?}{more}}}"#
        );
        NetworkConf::parse_file(state_dir, text.as_bytes()).unwrap().remove(0)
    }

    fn attach(node: &mut Fake, veth: &str, alias: &str, addresses: &[&str]) {
        node.add(veth, 1450, &[], LinkKind::Veth);
        let dev = node.links[veth].link.dev.clone();
        let route = |address: &&str| {
            let dst = IpNetwork::from(address.parse::<std::net::IpAddr>().unwrap());
            let (gateway, onlink, source, metric) = (None, false, None, None);
            Change::AddRoute(Route { dst, gateway, onlink, source, metric })
        };
        let changes: Vec<_> =
            addresses.iter().map(route).chain([Change::Alias(alias.into())]).collect();
        node.apply(&dev, &changes).unwrap();
    }

    fn told(records: &[Record]) -> Vec<String> {
        let words =
            |Record { attachment, addresses }: &Record| format!("{attachment} {addresses:?}");
        records.iter().map(words).collect()
    }

    #[test]
    fn what_the_kernel_shows_has_a_lease_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let conf = conf(folder.path(), "");
        let mut node = Fake::default();
        let plain = Key::new("pods", "c1", "eth0");
        attach(&mut node, &veth_name(&plain), "flatnet:pods/-/c1/eth0", &["fd00::7", "10.1.1.7"]);
        attach(&mut node, "veth0123456789a", "flatnet:pods/default/web/eth0", &["10.1.1.8"]);
        attach(&mut node, "veth0123456789b", "flatnet:pods/default/bare/eth0", &[]);
        attach(&mut node, "veth0123456789c", "flatnet:others/default/db/eth0", &["10.9.1.1"]);
        let books = |mode| Books { conf: &conf, node: "a", own: 7, mode };

        let planned = books(Mode::Plan).keep(&mut node).unwrap();
        assert!(!folder.path().join("pods").exists(), "a plan writes nothing");
        let kept = books(Mode::Apply).keep(&mut node).unwrap();
        let mut both = told(&kept.leases);
        both.sort();
        let expected = [
            "interface eth0 of container c1 [10.1.1.7, fd00::7]",
            "interface eth0 of pod default/web [10.1.1.8]",
        ];
        assert_eq!(both, expected);
        assert_eq!(told(&planned.leases).len(), 2);
        assert_eq!(kept.problems, [""; 0]);
        // Found by the whole key: of the one it is known, of the other it begins with what is.
        let found = lease(&conf, 7, &plain).unwrap().unwrap().attachment;
        assert_eq!((&found.container_id[..], found.netns), ("c1", 7));
        let head = Key::from_head("0123456789a").unwrap();
        let found = lease(&conf, 7, &head).unwrap().unwrap().attachment;
        assert_eq!((&found.container_id[..], found.pod.name.as_deref()), ("", Some("web")));
        assert_eq!(lease(&conf, 8, &plain).unwrap(), None, "made in another namespace");
        assert_eq!(told(&books(Mode::Apply).keep(&mut node).unwrap().leases), [""; 0]);
    }

    #[test]
    fn a_lease_under_another_name_of_the_node_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let conf = conf(folder.path(), "");
        let mut node = Fake::default();
        attach(&mut node, "veth0123456789a", "flatnet:pods/default/web/eth0", &["10.1.1.8"]);
        let books = |node, own| Books { conf: &conf, node, own, mode: Mode::Apply };
        assert_eq!(books("a", 7).keep(&mut node).unwrap().leases.len(), 1);
        assert_eq!(books("b", 7).keep(&mut node).unwrap().leases.len(), 0);
        // The same folder, but another machine's namespace.
        assert_eq!(books("b", 8).keep(&mut node).unwrap().leases.len(), 1);
    }

    #[test]
    fn the_books_of_another_ipam_plugin_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let conf = conf(folder.path(), r#","ipam":{"type":"host-local"}"#);
        let mut node = Fake::default();
        attach(&mut node, "veth0123456789a", "flatnet:pods/default/web/eth0", &["10.1.1.8"]);
        let books = Books { conf: &conf, node: "a", own: 7, mode: Mode::Apply };
        assert_eq!(told(&books.keep(&mut node).unwrap().leases), [""; 0]);
        assert!(!folder.path().join("pods").exists());
    }
}
