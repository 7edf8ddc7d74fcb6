//! What the rest of the plugin tells the kernel, as conversations.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;

use super::super::{
    Change, Dev, FastPath, FdbEntry, Kernel, KernelError, Observe, PathSettings, RuleSet, Veth,
    VethPair, VxlanLink, encode, gro, sysctl,
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
        let made = self.create(&link.command(), &link.name, encode::create_vxlan(link))?;
        Ok(made.dev)
    }

    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<VethPair, KernelError> {
        let made = self.create(&veth.command(), veth.name, encode::create_veth(veth))?;
        match made.peer {
            Some(index) => {
                Ok(VethPair { dev: made.dev, peer: Dev { index, name: veth.peer_name.into() } })
            }
            None => Err(KernelError::Answer {
                request: veth.command(),
                reason: format!("{} has no other end", veth.name),
            }),
        }
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
        let mut first = Ok(());
        for alike in changes.chunk_by(|one, next| one.is_setting() == next.is_setting()) {
            let several = matches!(alike, [first, _, ..] if first.is_setting());
            if !several || !self.set_together(dev, alike)? {
                first = first.and(self.apply_each(dev, alike)?);
            }
        }
        first?;
        changes.iter().try_for_each(|change| match change {
            Change::AddAddress(IpNetwork::V6(address)) => self.await_local(address.ip().into()),
            _ => Ok(()),
        })
    }

    fn configure_fast_path(
        &mut self,
        path: &FastPath,
        settings: &PathSettings,
        peers: &[FdbEntry],
        renew: bool,
    ) -> Result<Vec<String>, KernelError> {
        path.configure(settings, peers, renew)
    }

    fn renew_fast_path(
        &mut self,
        path: &FastPath,
        new: &[FdbEntry],
        gone: &[FdbEntry],
    ) -> Result<Vec<String>, KernelError> {
        path.renew(new, gone)
    }

    fn switch_off_fast_path(&mut self, path: &FastPath) -> Result<(), KernelError> {
        path.switch_off()
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

    fn write_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        log::debug!("sysctl -w {key}={value}");
        match self.inside(|| sysctl::write(key, value))? {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            // Of what may not be written it is enough that it is right.
            Err(_) if self.sysctl(key)?.as_deref() == Some(value) => Ok(true),
            Err(source) => {
                let key = format!("{key}={value}");
                Err(KernelError::Sysctl { action: "write", key, source })
            }
        }
    }
}

impl Netlink {
    /// Sets these of a device by one message; `false` if the kernel refuses it, which may be for one of them.
    fn set_together(&mut self, dev: &Dev, settings: &[Change]) -> Result<bool, KernelError> {
        let mut accepted = true;
        let request = encode::settings(dev.index, settings);
        self.socket.exchange([request], |_, answer| accepted = answer.is_ok())?;
        if accepted {
            settings.iter().for_each(|setting| log::debug!("{}", setting.command(&dev.name)));
        }
        Ok(accepted)
    }

    /// Makes the changes in batches. All are tried; the first failure is what is returned inside.
    fn apply_each(
        &mut self,
        dev: &Dev,
        changes: &[Change],
    ) -> Result<Result<(), KernelError>, KernelError> {
        let requests = changes.iter().map(|change| encode::change(dev.index, change));
        let mut failures = HashMap::new();
        self.socket.exchange(requests, |index, answer| {
            if let Err(refusal) = answer {
                failures.insert(index, refusal);
            }
        })?;
        for (index, change) in changes.iter().enumerate() {
            if failures.get(&index).is_some_and(|it| it.errno == Errno::EINVAL)
                && self.put_beneath(dev, change)?
            {
                failures.remove(&index);
            }
        }
        let mut first = Ok(());
        for (index, change) in changes.iter().enumerate() {
            let mut failure = failures.remove(&index).filter(|it| !change.tolerates(it.errno));
            if let Some(refusal) = failure.take_if(|_| change.is_dispensable()) {
                let refusal = refusal.of(&change.command(&dev.name));
                log::warn!("{refusal}; what passes {} goes the usual way", dev.name);
                continue;
            }
            if log::log_enabled!(log::Level::Debug) || failure.is_some() {
                let command = change.command(&dev.name);
                log::debug!("{command}");
                if let (Some(refusal), true) = (failure, first.is_ok()) {
                    first = Err(refusal.of(&command));
                }
            }
        }
        Ok(first)
    }
}
