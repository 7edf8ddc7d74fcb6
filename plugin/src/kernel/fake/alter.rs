//! What it does when it is told to.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{Fake, refused};
use crate::kernel::nft::intervals;
use crate::kernel::nft::names::Names;
use crate::kernel::{
    Change, Dev, FastPath, FdbEntry, Kernel, KernelError, Link, LinkKind, Observe, PathSettings,
    Route, RuleSet, Veth, VethPair, VxlanLink,
};

impl Kernel for Fake {
    fn observing(&mut self) -> &mut dyn Observe {
        self
    }

    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError> {
        let command = format!("ethtool -K {} gro off", dev.name);
        let link = self.by_index(dev.index).ok_or_else(|| refused(&command, Errno::ENODEV))?;
        link.gro = false;
        self.log.push(command);
        Ok(())
    }

    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError> {
        let own = &link.vxlan;
        let same = |other: &Link| match &other.kind {
            LinkKind::Vxlan(other) => {
                own.vni == other.vni && own.meets(other) && own.special == other.special
            }
            _ => false,
        };
        if self.links()?.iter().any(same) {
            return Err(refused(&link.command(), Errno::EEXIST));
        }
        self.make(Link {
            dev: Dev { index: 0, name: link.name.clone() },
            mac: Some(link.mac),
            mtu: link.mtu,
            up: false,
            alias: None,
            group: link.group,
            peer: None,
            peer_netns: None,
            master: None,
            xdp: false,
            kind: LinkKind::Vxlan(link.vxlan.clone()),
        })
    }

    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<VethPair, KernelError> {
        let dev = self.make(Link {
            dev: Dev { index: 0, name: veth.name.into() },
            mac: Some(veth.mac),
            mtu: veth.mtu,
            up: false,
            alias: None,
            group: veth.group,
            peer: None,
            peer_netns: None,
            master: None,
            xdp: false,
            kind: LinkKind::Veth,
        })?;
        self.links.entry(dev.name.clone()).and_modify(|link| link.waiting = Some(None));
        Ok(VethPair { dev, peer: Dev { index: 2, name: veth.peer_name.into() } })
    }

    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError> {
        let removed = self.links.remove(name);
        let found = removed.is_some();
        if let Some(link) = removed {
            link.addresses.iter().for_each(|address| self.forget_source(address.ip()));
            self.log.push(format!("ip link delete {name}"));
        }
        Ok(found)
    }

    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError> {
        let mut first = Ok(());
        for change in changes {
            let command = change.command(&dev.name);
            let outcome = self.change(dev.index, change);
            // A route is one of its table, whatever its device.
            if let (Change::PutRoute(route), Ok(())) = (change, outcome) {
                let others = self.links.values_mut().filter(|link| link.link.dev != *dev);
                let is_same = |r: &Route| r.dst == route.dst && r.metric == route.metric;
                others.for_each(|link| link.routes.retain(|r| !is_same(r)));
            }
            if let (Change::DelAddress(address), Ok(())) = (change, outcome) {
                self.forget_source(address.ip());
            }
            match outcome {
                Err(errno) if !change.tolerates(errno) && first.is_ok() => {
                    first = Err(refused(&command, errno));
                }
                _ => self.log.push(command),
            }
        }
        first
    }

    fn configure_fast_path(
        &mut self,
        _: &FastPath,
        settings: &PathSettings,
        _: &[FdbEntry],
        renew: bool,
    ) -> Result<Vec<String>, KernelError> {
        let (before, voided) = self.settings.take().unzip();
        let same = before.as_ref() == Some(settings);
        let voided = voided.unwrap_or(0) + u32::from(!same || renew);
        self.settings = Some((settings.clone(), voided));
        Ok(if same { Vec::new() } else { vec!["fast path".to_owned()] })
    }

    fn renew_fast_path(
        &mut self,
        _: &FastPath,
        _: &[FdbEntry],
        _: &[FdbEntry],
    ) -> Result<Vec<String>, KernelError> {
        let settings = self.settings.as_mut();
        settings.ok_or_else(|| refused("fast path", Errno::ENOENT))?.1 += 1;
        Ok(vec!["fast path".to_owned()])
    }

    fn switch_off_fast_path(&mut self, _: &FastPath) -> Result<(), KernelError> {
        self.settings = None;
        Ok(())
    }

    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        let changes = self.rule_changes(rules)?;
        self.rules.insert(rules.vni, rules.clone());
        self.log.extend_from_slice(&changes);
        Ok(changes)
    }

    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError> {
        let words = format!("nft vteps of {vni}");
        let rules = self.rules.get_mut(&vni).ok_or_else(|| refused(&words, Errno::ENOENT))?;
        let named = Names::of(vni).vteps;
        for set in rules.sets.iter_mut().filter(|set| set.name == named) {
            set.elements.retain(|element| !gone.contains(&element.key));
            set.elements.extend(intervals::addresses(new));
        }
        Ok(vec![words])
    }

    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        let found = self.rules.remove(&vni).is_some();
        if found {
            self.log.push(format!("nft delete rules of {vni}"));
        }
        Ok(found)
    }

    fn write_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        if self.sysctls.insert(key.into(), value.into()).as_deref() != Some(value) {
            self.log.push(format!("sysctl -w {key}={value}"));
        }
        Ok(true)
    }
}
