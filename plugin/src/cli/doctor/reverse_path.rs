//! Answers that the kernel drops because it would not send back by the device they came in by.
//!
//! A strict reverse-path filter on an uplink does no harm where a peer's packets come in by the
//! uplink that leads to it. It does where the underlay is asymmetric (two uplinks, and packets go
//! by one and come by the other), or where only one side routes directly. Which way packets come is
//! not known beforehand; that they are dropped is counted.

use std::fs;
use std::net::IpAddr;

use super::finding::{Finding, some};
use crate::kernel::{Kernel, KernelError, LinkKind};

/// How many packets the filter has dropped in the calling thread's namespace: `nstat
/// TcpExtIPReversePathFilter`. 0 where the kernel does not tell.
pub fn dropped() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
    counter(&text, "TcpExt:", "IPReversePathFilter").unwrap_or(0)
}

/// One number of a table that has a line of names above each line of numbers.
fn counter(table: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(numbers.split_whitespace());
    columns.find(|(found, _)| *found == name)?.1.parse().ok()
}

/// The devices on which the filter is strict, without pods', whose it must be, and without those
/// by which packets to these addresses go: `max(all, device)` is in force (Documentation/networking/
/// ip-sysctl.rst).
pub fn strict(kernel: &mut dyn Kernel, uplinks: &[u32]) -> Result<Vec<String>, KernelError> {
    let mut strict = Vec::new();
    for link in kernel.links()? {
        let name = link.dev.name;
        if link.kind == LinkKind::Veth && link.alias.is_some_and(|alias| is_pods(&alias)) {
            continue;
        }
        let mut setting = |of: &str| kernel.sysctl(&format!("net/ipv4/conf/{of}/rp_filter"));
        let in_force = [setting("all")?, setting(&name)?].into_iter().flatten().max();
        if in_force.as_deref() == Some("1") && !uplinks.contains(&link.dev.index) {
            strict.push(name);
        }
    }
    Ok(strict)
}

fn is_pods(alias: &str) -> bool {
    alias.starts_with("flatnet:")
}

/// What dropped packets mean, if peers were silent meanwhile and somebody could have dropped them.
pub fn judge(dropped: u64, strict: &[String], silent: &[(&str, IpAddr)]) -> Option<Finding> {
    if dropped == 0 || strict.is_empty() || silent.is_empty() {
        return None;
    }
    let names: Vec<_> = silent.iter().map(|(name, vtep)| format!("{name} ({vtep})")).collect();
    let (names, devices) = (some(&names), some(strict));
    let loose: Vec<_> = strict
        .iter()
        .map(|dev| format!("net.ipv4.conf.{}.rp_filter=2", dev.replace('.', "/")))
        .collect();
    Some(Finding::run(
        format!(
            "the strict reverse-path filter (rp_filter) of {devices} dropped {dropped} packets \
             while {names} did not answer"
        ),
        format!(
            "packets to {names} leave by another device than {devices}, by which the answers come: \
             a strict filter drops them, a loose one lets them in"
        ),
        format!("sysctl -w {}", loose.join(" ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let table = "TcpExt: SyncookiesSent IPReversePathFilter PFMemallocDrop\n\
                     TcpExt: 5 77 0\nIpExt: InNoRoutes\nIpExt: 3\n";
        assert_eq!(counter(table, "TcpExt:", "IPReversePathFilter"), Some(77));
        assert_eq!(counter(table, "TcpExt:", "Nothing"), None);
        assert_eq!(counter("", "TcpExt:", "IPReversePathFilter"), None);
    }

    #[test]
    fn strict_is_what_is_in_force() {
        let mut fake = Fake::default();
        for (dev, value) in [("eth0", "1"), ("eth1", "2"), ("eth2", "0"), ("eth3", "1")] {
            fake.add(dev, 1500, &[], LinkKind::Other(String::new()));
            fake.sysctls.insert(format!("net/ipv4/conf/{dev}/rp_filter"), value.into());
        }
        let uplink = fake.links["eth3"].link.dev.index;
        assert_eq!(strict(&mut fake, &[uplink]).unwrap(), ["eth0"]);
        fake.sysctls.insert("net/ipv4/conf/all/rp_filter".into(), "1".into());
        assert_eq!(strict(&mut fake, &[uplink]).unwrap(), ["eth0", "eth2"]);
        fake.sysctls.insert("net/ipv4/conf/all/rp_filter".into(), "2".into());
        assert_eq!(strict(&mut fake, &[uplink]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_drop_alone_is_no_finding() {
        let silent = [("b", "192.0.2.2".parse().unwrap())];
        let strict = ["eth0".to_owned(), "bond.7".to_owned()];
        assert_eq!(judge(0, &strict, &silent), None);
        assert_eq!(judge(3, &[], &silent), None);
        assert_eq!(judge(3, &strict, &[]), None);
        let found = judge(3, &strict, &silent).unwrap();
        let run = "sysctl -w net.ipv4.conf.eth0.rp_filter=2 net.ipv4.conf.bond/7.rp_filter=2";
        assert_eq!(found.mend, super::super::finding::Mend::Run(run.into()));
        assert!(found.what.contains("b (192.0.2.2) did not answer"), "{}", found.what);
    }
}
