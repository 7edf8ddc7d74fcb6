//! What the rest of the plugin tells the kernel, as conversations.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::super::{
    Change, Dev, Kernel, KernelError, Observe, RuleSet, Veth, VxlanLink, encode, gro, sysctl,
};
use super::Netlink;

impl Kernel for Netlink {
    fn observing(&mut self) -> &mut dyn Observe {
        self
    }

    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError> {
        log::debug!("ethtool -K {} gro off", dev.name);
        self.inside(|| gro::switch_off(dev))?
    }

    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError> {
        self.create(&link.command(), &link.name, encode::create_vxlan(link))
    }

    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<Dev, KernelError> {
        self.create(&veth.command(), veth.name, encode::create_veth(veth))
    }

    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError> {
        let command = format!("ip link delete {name}");
        match self.ask(&command, encode::delete_link(name), |_| Some(())) {
            Ok(_) => Ok(true),
            Err(e) if e.errno() == Some(Errno::ENODEV) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError> {
        let requests = changes.iter().map(|change| encode::change(dev.index, change));
        let mut failures = HashMap::new();
        self.socket.exchange(requests, |index, answer| {
            if let Err(refusal) = answer {
                failures.insert(index, refusal);
            }
        })?;
        let mut first = Ok(());
        for (index, change) in changes.iter().enumerate() {
            let failure = failures.remove(&index).filter(|it| !change.tolerates(it.errno));
            if log::log_enabled!(log::Level::Debug) || failure.is_some() {
                let command = change.command(&dev.name);
                log::debug!("{command}");
                if let (Some(refusal), true) = (failure, first.is_ok()) {
                    first = Err(refusal.of(&command));
                }
            }
        }
        first?;
        changes.iter().try_for_each(|change| match change {
            Change::AddAddress(IpNetwork::V6(address)) => self.await_local(address.ip().into()),
            _ => Ok(()),
        })
    }

    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError> {
        Ok(self.firewall()?.replace(rules)?)
    }

    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError> {
        Ok(self.firewall()?.change_vteps(vni, new, gone)?)
    }

    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError> {
        Ok(self.firewall()?.remove(vni)?)
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        // Writing forwarding settings walks over all devices even if nothing changes: look first.
        match self.sysctl(key)? {
            None => return Ok(false),
            Some(now) if now == value => return Ok(true),
            Some(_) => log::debug!("sysctl -w {key}={value}"),
        }
        self.inside(|| sysctl::write(key, value))?.map_err(|source| KernelError::Sysctl {
            action: "write",
            key: format!("{key}={value}"),
            source,
        })?;
        Ok(true)
    }
}
