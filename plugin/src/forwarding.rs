//! Letting packets through the node: forwarding is switched on where it is needed, and only there.
//!
//! IPv4 looks at the device that a packet comes in by, so our own devices get their own setting
//! with their other attributes ([`crate::kernel::Change::Forward`]) and nothing else of the node
//! becomes a router. Two cases need more, and they are here.

use crate::error::Error;
use crate::kernel::Kernel;

const ALL_V6: &str = "net/ipv6/conf/all/forwarding";
const ALL_V4: &str = "net/ipv4/ip_forward";

/// Switches on what pods of these families need beyond our own devices.
///
/// # Errors
/// A setting cannot be read or written.
pub fn enable(kernel: &mut dyn Kernel, ipv6: bool, ip_masq: bool) -> Result<(), Error> {
    if ip_masq {
        // Answers from outside come in by an uplink, whichever it will be then.
        kernel.set_sysctl(ALL_V4, "1")?;
    }
    if ipv6 && kernel.sysctl(ALL_V6)?.is_some_and(|now| now != "1") {
        keep_router_advertisements(kernel)?;
        // IPv6 forwards for all devices or none (net/ipv6/ip6_output.c, ip6_forward).
        kernel.set_sysctl(ALL_V6, "1")?;
    }
    Ok(())
}

/// A host takes router advertisements, a router does not: a node that has its default route from
/// one would lose it as soon as it forwards. `accept_ra=2` means "even when forwarding"; it is set
/// on the devices that have taken them so far.
fn keep_router_advertisements(kernel: &mut dyn Kernel) -> Result<(), Error> {
    for link in kernel.links()?.iter().filter(|link| link.dev.name != "lo") {
        let key = format!("net/ipv6/conf/{}/accept_ra", link.dev.name);
        if kernel.sysctl(&key)?.as_deref() == Some("1") {
            kernel.set_sysctl(&key, "2")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    fn node() -> Fake {
        let mut fake = Fake::default();
        fake.add("lo", 65536, &[], LinkKind::Other(String::new()));
        fake.add("eth0", 1500, &[], LinkKind::Other(String::new()));
        fake.add("eth1", 1500, &[], LinkKind::Other(String::new()));
        for (key, value) in [
            (ALL_V6, "0"),
            (ALL_V4, "0"),
            ("net/ipv6/conf/lo/accept_ra", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/eth1/accept_ra", "0"),
        ] {
            fake.sysctls.insert(key.into(), value.into());
        }
        fake
    }

    #[test]
    fn an_uplink_keeps_its_router_advertisements() {
        let mut fake = node();
        enable(&mut fake, true, false).unwrap();
        let expected = [
            "sysctl -w net/ipv6/conf/eth0/accept_ra=2",
            "sysctl -w net/ipv6/conf/all/forwarding=1",
        ];
        assert_eq!(fake.log, expected);
    }

    #[test]
    fn nothing_is_touched_without_need() {
        let mut fake = node();
        enable(&mut fake, false, false).unwrap();
        assert_eq!(fake.log, [""; 0]);
        enable(&mut fake, false, true).unwrap();
        assert_eq!(fake.log, ["sysctl -w net/ipv4/ip_forward=1"]);
        // An administrator who forwards already has decided about advertisements.
        let mut router = node();
        router.sysctls.insert(ALL_V6.into(), "1".into());
        enable(&mut router, true, false).unwrap();
        assert_eq!(router.log, [""; 0]);
    }
}
