//! The changes that flatnet makes to one network namespace.

use std::net::IpAddr;

use super::{
    Change, Dev, FastPath, FdbEntry, KernelError, Observe, PathSettings, RuleSet, Veth, VethPair,
    VxlanLink,
};

/// What flatnet changes in one network namespace, which it can ask as well.
///
/// Errors name the equivalent `ip` command, the errno and the kernel's own words.
pub trait Kernel: Observe {
    /// The half that only asks, for what changes nothing.
    fn observing(&mut self) -> &mut dyn Observe;
    /// Switches generic receive offload off; nothing happens if the kernel is too old. `ethtool -K DEV gro off`
    fn switch_off_gro(&mut self, dev: &Dev) -> Result<(), KernelError>;
    /// Makes a VXLAN device, down. `ip link add NAME type vxlan …`
    fn create_vxlan(&mut self, link: &VxlanLink) -> Result<Dev, KernelError>;
    /// Makes a VXLAN device, switches it on, and removes it again: whether it can be had.
    fn try_vxlan(&mut self, link: &VxlanLink) -> Result<(), KernelError> {
        let dev = self.create_vxlan(link)?;
        let outcome = self.apply(&dev, &[Change::Up]);
        self.delete_link(&link.name)?;
        outcome
    }
    /// Makes a veth pair with one message, each end where it belongs, both down.
    /// `ip link add NAME type veth peer name PEER netns FD`
    fn create_veth(&mut self, veth: &Veth<'_>) -> Result<VethPair, KernelError>;
    /// Removes a device; `false` if there was none. `ip link delete NAME`
    fn delete_link(&mut self, name: &str) -> Result<bool, KernelError>;
    /// Makes changes to one device's objects, in order, in batches. All are tried; the first
    /// failure is returned. Addresses added are usable when it returns.
    fn apply(&mut self, dev: &Dev, changes: &[Change]) -> Result<(), KernelError>;
    /// Tells them what the network is, and which VTEP is behind which MAC; returns what that changed. What was learned
    /// is void where anything changed, or with `renew`.
    fn configure_fast_path(
        &mut self,
        path: &FastPath,
        settings: &PathSettings,
        peers: &[FdbEntry],
        renew: bool,
    ) -> Result<Vec<String>, KernelError>;
    /// Tells them of new peers, or other VTEPs, and of those that are gone, without a look at the rest; what was learned is
    /// void. Returns what that changed.
    fn renew_fast_path(
        &mut self,
        path: &FastPath,
        new: &[FdbEntry],
        gone: &[FdbEntry],
    ) -> Result<Vec<String>, KernelError>;
    /// Nothing takes the fast path of these programs any more, wherever they still hang.
    fn switch_off_fast_path(&mut self, path: &FastPath) -> Result<(), KernelError>;
    /// Makes a network's packet filter rules exactly these; returns what that changed.
    /// `nft list table inet flatnet`
    fn put_rules(&mut self, rules: &RuleSet) -> Result<Vec<String>, KernelError>;
    /// Adds addresses to the VTEPs that a network's rules know, and takes others away, without a look
    /// at what they are now. `nft add element`, `nft delete element`
    fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, KernelError>;
    /// Removes the rules of the network with this VNI; `false` if there were none.
    fn remove_rules(&mut self, vni: u32) -> Result<bool, KernelError>;
    /// Writes a setting of `/proc/sys/net` in this namespace, unless it has that value already: for one of
    /// forwarding the kernel walks over all devices even if nothing changes.
    /// `false` if the kernel has no such setting (IPv6 switched off). `sysctl -w KEY=VALUE`
    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError> {
        match self.sysctl(key)? {
            None => Ok(false),
            Some(now) if now == value => Ok(true),
            Some(_) => self.write_sysctl(key, value),
        }
    }
    /// The same without a look: of a device that was just made.
    fn write_sysctl(&mut self, key: &str, value: &str) -> Result<bool, KernelError>;
}
