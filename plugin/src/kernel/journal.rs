//! A kernel that writes down what is changed through it, and that can leave it at that: what a dry
//! run prints and what is applied come from the same code.

mod observe;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{
    Change, Dev, FastPath, FdbEntry, Kernel, KernelError, Observe, PathSettings, RuleSet, Veth,
    VethPair, VxlanLink,
};

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is made.
    Apply,
    /// It is only written down.
    Plan,
}

/// What was changed, in order. Put into words only when they are asked for: an overlay of ten
/// thousand nodes is thirty thousand changes.
#[derive(Debug, Default)]
pub struct Changes(Vec<Entry>);

#[derive(Debug)]
enum Entry {
    Words(String),
    Changes(Dev, Vec<Change>),
}

impl Changes {
    /// How many changes.
    pub fn count(&self) -> usize {
        let count = |entry: &Entry| match entry {
            Entry::Words(_) => 1,
            Entry::Changes(_, changes) => changes.len(),
        };
        self.0.iter().map(count).sum()
    }

    /// Each in words close to ip(8).
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|entry| -> Box<dyn Iterator<Item = String>> {
            match entry {
                Entry::Words(words) => Box::new(std::iter::once(words.clone())),
                Entry::Changes(dev, changes) => {
                    Box::new(changes.iter().map(|change| change.command(&dev.name)))
                }
            }
        })
    }

    /// The changes to devices and to what hangs on them, each with the device's name.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.0.iter().flat_map(|entry| {
            let (dev, changes) = match entry {
                Entry::Words(_) => ("", &[][..]),
                Entry::Changes(dev, changes) => (&dev.name[..], &changes[..]),
            };
            changes.iter().map(move |change| (dev, change))
        })
    }

    /// The other changes: devices made and removed, packet filter rules, settings.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Words(words) => Some(&words[..]),
            Entry::Changes(..) => None,
        })
    }

    fn push(&mut self, words: String) {
        self.0.push(Entry::Words(words));
    }
}

/// So many changes are made between two words about how far it is.
const STRIDE: usize = 1000;

/// Hears how many changes to a device are made, and of how many.
pub type Listener = dyn FnMut(usize, usize);

/// What a journal stands before. Behind a plan are questions only: it has nothing to change with.
enum Behind<'a> {
    Applied(&'a mut dyn Kernel),
    /// With the VNIs of rules that were planned: what is planned again would tell the same again.
    Planned(&'a mut dyn Observe, BTreeSet<u32>),
}

/// Another kernel, watched.
pub struct Journal<'a> {
    behind: Behind<'a>,
    changes: Changes,
    listener: Option<&'a mut Listener>,
}

impl<'a> Journal<'a> {
    /// Watches `kernel`.
    pub fn new(kernel: &'a mut dyn Kernel, mode: Mode) -> Self {
        let behind = match mode {
            Mode::Apply => Behind::Applied(kernel),
            Mode::Plan => Behind::Planned(kernel.observing(), BTreeSet::new()),
        };
        Self { behind, changes: Changes::default(), listener: None }
    }

    /// Tells a listener how far long lists of changes are; of what is done at once it hears nothing.
    pub fn heard_by(self, listener: &'a mut Listener) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// How many changes so far.
    pub fn count(&self) -> usize {
        self.changes.count()
    }

    /// What was changed, or would be.
    pub fn changes(self) -> Changes {
        self.changes
    }

    /// Where the answers come from.
    fn asked(&mut self) -> &mut dyn Observe {
        match &mut self.behind {
            Behind::Applied(kernel) => kernel.observing(),
            Behind::Planned(kernel, _) => *kernel,
        }
    }

    /// Where changes are made; `None` if they are not.
    fn applied(&mut self) -> Option<&mut dyn Kernel> {
        match &mut self.behind {
            Behind::Applied(kernel) => Some(*kernel),
            Behind::Planned(..) => None,
        }
    }

    /// Makes them, unless they are only planned. All are tried; the first failure is returned.
    fn make(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError> {
        let Behind::Applied(kernel) = &mut self.behind else { return Ok(()) };
        let mut outcome = Ok(());
        for (n, part) in changes.chunks(STRIDE).enumerate() {
            if let (Some(listener), true) = (&mut self.listener, n > 0) {
                listener(n * STRIDE, changes.len());
            }
            let made = kernel.apply(dev, part);
            outcome = outcome.and(made);
        }
        outcome
    }

    /// What a creation makes; what it would have made, where it is only planned.
    fn made<T>(
        &mut self,
        words: String,
        planned: impl FnOnce() -> T,
        make: impl FnOnce(&mut dyn Kernel) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        let made = match self.applied() {
            Some(kernel) => make(kernel)?,
            None => planned(),
        };
        self.changes.push(words);
        Ok(made)
    }
}

/// An index that no device has, so that looking finds nothing.
fn planned(name: &str) -> Dev {
    Dev { index: 0, name: name.into() }
}

impl Kernel for Journal<'_> {
    fn observing(&mut self) -> &mut dyn Observe {
        self
    }

    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError> {
        if let Some(kernel) = self.applied() {
            kernel.switch_off_gro(dev)?;
        }
        self.changes.push(format!("ethtool -K {} gro off", dev.name));
        Ok(())
    }

    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError> {
        self.made(link.command(), || planned(&link.name), |kernel| kernel.create_vxlan(link))
    }

    /// Nothing of it stays, so that it is not written down.
    fn try_vxlan(&mut self, link: &VxlanLink) -> Result<(), KernelError> {
        self.applied().map_or(Ok(()), |kernel| kernel.try_vxlan(link))
    }

    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<VethPair, KernelError> {
        let planned = || VethPair { dev: planned(veth.name), peer: planned(veth.peer_name) };
        self.made(veth.command(), planned, |kernel| kernel.create_veth(veth))
    }

    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError> {
        let found = match &mut self.behind {
            Behind::Applied(kernel) => kernel.delete_link(name)?,
            Behind::Planned(kernel, _) => kernel.link(name)?.is_some(),
        };
        if found {
            self.changes.push(format!("ip link delete {name}"));
        }
        Ok(found)
    }

    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError> {
        self.make(dev, changes)?;
        if !changes.is_empty() {
            self.changes.0.push(Entry::Changes(dev.clone(), changes.to_vec()));
        }
        Ok(())
    }

    fn configure_fast_path(
        &mut self,
        path: &FastPath,
        settings: &PathSettings,
        peers: &[FdbEntry],
        renew: bool,
    ) -> Result<Vec<String>, KernelError> {
        let Some(kernel) = self.applied() else { return Ok(Vec::new()) };
        let changes = kernel.configure_fast_path(path, settings, peers, renew)?;
        changes.iter().for_each(|words| self.changes.push(words.clone()));
        Ok(changes)
    }

    fn renew_fast_path(
        &mut self,
        path: &FastPath,
        new: &[FdbEntry],
        gone: &[FdbEntry],
    ) -> Result<Vec<String>, KernelError> {
        let Some(kernel) = self.applied() else { return Ok(Vec::new()) };
        let changes = kernel.renew_fast_path(path, new, gone)?;
        changes.iter().for_each(|words| self.changes.push(words.clone()));
        Ok(changes)
    }

    fn switch_off_fast_path(&mut self, path: &FastPath) -> Result<(), KernelError> {
        self.applied().map_or(Ok(()), |kernel| kernel.switch_off_fast_path(path))
    }

    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        let changes = match &mut self.behind {
            Behind::Applied(kernel) => kernel.put_rules(rules)?,
            Behind::Planned(kernel, planned) => match planned.insert(rules.vni) {
                true => kernel.rule_changes(rules)?,
                false => Vec::new(),
            },
        };
        changes.iter().for_each(|words| self.changes.push(words.clone()));
        Ok(changes)
    }

    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError> {
        let Some(kernel) = self.applied() else { return Ok(Vec::new()) };
        let changes = kernel.change_vteps(vni, new, gone)?;
        changes.iter().for_each(|words| self.changes.push(words.clone()));
        Ok(changes)
    }

    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        let found = match &mut self.behind {
            Behind::Applied(kernel) => kernel.remove_rules(vni)?,
            Behind::Planned(kernel, _) => kernel.has_rules(vni)?,
        };
        if found {
            self.changes.push(format!("nft (table inet flatnet) delete all of VNI {vni}"));
        }
        Ok(found)
    }

    fn write_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        let found = match &mut self.behind {
            Behind::Applied(kernel) => kernel.write_sysctl(key, value)?,
            Behind::Planned(kernel, _) => kernel.sysctl(key)?.is_some(),
        };
        if found {
            self.changes.push(format!("sysctl -w {key}={value}"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;

    use super::*;
    use crate::kernel::fake::Fake;

    #[test]
    fn a_long_list_is_heard_of_and_none_of_it_is_lost() {
        use std::cell::RefCell;
        use std::rc::Rc;

        let mut fake = Fake::default();
        let index = fake.add("eth0", 1500, &[], crate::kernel::LinkKind::Veth);
        let dev = Dev { index, name: "eth0".into() };
        let heard = Rc::new(RefCell::new(Vec::new()));
        let notes = heard.clone();
        let mut listener = move |made, all| notes.borrow_mut().push((made, all));
        let mut journal = Journal::new(&mut fake, Mode::Apply).heard_by(&mut listener);
        let address = |n: u32| Change::AddAddress(IpNetwork::from(IpAddr::from(n.to_be_bytes())));
        let mut changes: Vec<Change> = (0..2500).map(address).collect();
        journal.apply(&dev, &changes[..1000]).unwrap();
        assert_eq!(*heard.borrow(), []);
        changes.rotate_left(1000);
        // The last thousand is there already: the first of them is what fails, and the others are made.
        let refused = journal.apply(&dev, &changes).unwrap_err().to_string();
        assert!(refused.contains(" 0.0.0.0/32 "), "{refused}");
        assert_eq!(*heard.borrow(), [(1000, 2500), (2000, 2500)]);
        assert_eq!(fake.links["eth0"].addresses.len(), 2500);
    }

    #[test]
    fn a_plan_says_what_applying_does_and_does_nothing() {
        let mut fake = Fake::default();
        let index = fake.add("eth0", 1500, &[], crate::kernel::LinkKind::Veth);
        fake.sysctls.insert("net/x".into(), "0".into());
        let before = fake.clone();
        let dev = Dev { index, name: "eth0".into() };
        let mut said = Vec::new();
        for mode in [Mode::Plan, Mode::Apply] {
            let mut journal = Journal::new(&mut fake, mode);
            journal.apply(&dev, &[Change::Mtu(1400)]).unwrap();
            journal.set_sysctl("net/x", "1").unwrap();
            journal.set_sysctl("net/absent", "1").unwrap();
            assert!(journal.delete_link("eth0").unwrap());
            assert!(!journal.delete_link("eth1").unwrap());
            let changes = journal.changes();
            assert_eq!(changes.count(), 3);
            assert_eq!(changes.changes().collect::<Vec<_>>(), [("eth0", &Change::Mtu(1400))]);
            assert_eq!(
                changes.others().collect::<Vec<_>>(),
                ["sysctl -w net/x=1", "ip link delete eth0"]
            );
            said.push(changes.words().collect::<Vec<_>>());
            if mode == Mode::Plan {
                assert_eq!(fake, before);
            }
        }
        assert_eq!(
            said[0],
            ["ip link set eth0 mtu 1400", "sysctl -w net/x=1", "ip link delete eth0"]
        );
        assert_eq!(said[0], said[1]);
        assert!(fake.links.is_empty());
    }
}
