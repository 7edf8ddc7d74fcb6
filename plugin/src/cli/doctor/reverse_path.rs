//! Answers that the kernel drops because it would not send back by the device they came in by.
//!
//! A strict reverse-path filter on an uplink does no harm where a peer's packets come in by the
//! uplink that leads to it. It does where the underlay is asymmetric (two uplinks, and packets go
//! by one and come by the other), or where only one side routes directly. Which way packets come is
//! not known beforehand; that they are dropped is counted.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use crate::cli::finding::{Finding, some};
use crate::kernel::{Kernel, KernelError};

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

/// The devices on which the filter is strict, by index and name, without ours: pods' must be, and
/// `max(all, device)` is in force (Documentation/networking/ip-sysctl.rst).
pub fn strict(kernel: &mut dyn Kernel) -> Result<Vec<(u32, String)>, KernelError> {
    let mut strict = Vec::new();
    for link in kernel.links()? {
        let name = link.dev.name;
        if name == "lo" || link.alias.is_some_and(|alias| alias.starts_with("flatnet:")) {
            continue;
        }
        let mut setting = |of: &str| kernel.sysctl(&format!("net/ipv4/conf/{of}/rp_filter"));
        let in_force = [setting("all")?, setting(&name)?].into_iter().flatten().max();
        if in_force.as_deref() == Some("1") {
            strict.push((link.dev.index, name));
        }
    }
    Ok(strict)
}

/// A peer that did not answer.
#[derive(Clone, Debug)]
pub struct Silent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// The uplink by which packets to it leave.
    pub uplink: Option<u32>,
}

/// What dropped packets mean, if peers were silent meanwhile and their answers may be what was
/// dropped: at least `answers` for each, by a strict device that is not the uplink to it. Where
/// several are, the one with the own VTEP, at `own`, is meant: peers send there.
pub fn judge(
    dropped: u64,
    answers: u64,
    strict: &[(u32, String)],
    own: Option<u32>,
    silent: &[Silent<'_>],
) -> Option<Finding> {
    let uplinks: BTreeSet<u32> = silent.iter().filter_map(|silent| silent.uplink).collect();
    let others: Vec<_> = strict.iter().filter(|(index, _)| !uplinks.contains(index)).collect();
    let at_vtep = others.iter().find(|(index, _)| own == Some(*index));
    let devices: Vec<&str> = match at_vtep {
        Some((_, name)) => vec![name],
        None => others.iter().map(|(_, name)| &name[..]).collect(),
    };
    let enough = dropped >= answers * silent.len() as u64;
    if silent.is_empty() || devices.is_empty() || !enough {
        return None;
    }
    let names: Vec<_> = silent.iter().map(|s| format!("{} ({})", s.name, s.vtep)).collect();
    // A dot in a device's name is a slash in the setting's.
    let loose =
        devices.iter().map(|dev| format!("net.ipv4.conf.{}.rp_filter=2", dev.replace('.', "/")));
    let run = format!("sysctl -w {}", loose.collect::<Vec<_>>().join(" "));
    let (names, devices) = (some(&names), some(&devices));
    Some(Finding::run(
        format!(
            "the strict reverse-path filter (rp_filter) of {devices} dropped {dropped} packets \
             while {names} did not answer"
        ),
        format!(
            "packets to {names} leave by another device than their answers come in by, {devices}: a \
             strict filter drops these, a loose one lets them in"
        ),
        run,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LinkKind;
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
        for (dev, value) in [("lo", "1"), ("eth0", "1"), ("eth1", "2"), ("eth2", "0")] {
            fake.add(dev, 1500, &[], LinkKind::Other(String::new()));
            fake.sysctls.insert(format!("net/ipv4/conf/{dev}/rp_filter"), value.into());
        }
        let mut names = |all: &str| -> Vec<String> {
            fake.sysctls.insert("net/ipv4/conf/all/rp_filter".into(), all.into());
            strict(&mut fake).unwrap().into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names("0"), ["eth0"]);
        assert_eq!(names("1"), ["eth0", "eth2"]);
        assert_eq!(names("2"), [""; 0]);
    }

    #[test]
    fn what_was_dropped_must_be_the_answers() {
        let silent = [Silent { name: "b", vtep: "192.0.2.2".parse().unwrap(), uplink: Some(1) }];
        let strict = [(1, "eth0".to_owned()), (2, "bond.7".into()), (3, "eth2".into())];
        assert_eq!(judge(2, 3, &strict, None, &silent), None, "too few");
        assert_eq!(judge(9, 3, &strict[..1], None, &silent), None, "the uplink itself");
        assert_eq!(judge(9, 3, &strict, None, &[]), None, "everybody answered");
        let run = |own| match judge(3, 3, &strict, own, &silent).unwrap().mend {
            crate::cli::finding::Mend::Run(run) => run,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            run(None),
            "sysctl -w net.ipv4.conf.bond/7.rp_filter=2 net.ipv4.conf.eth2.rp_filter=2"
        );
        assert_eq!(run(Some(3)), "sysctl -w net.ipv4.conf.eth2.rp_filter=2");
    }
}
