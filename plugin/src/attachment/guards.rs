//! The IPv6 settings of both ends of a pair, made before the ends are up.

use std::net::IpAddr;

use crate::error::Error;
use crate::kernel::{Kernel, KernelError, Settings};

/// What settings of one end, in `net.ipv6.conf`, are to be.
#[derive(Clone, Copy, Debug)]
pub struct Guards {
    accept_ra: Option<bool>,
    disable_ipv6: Option<bool>,
}

impl Guards {
    /// Those of the node's end. If the pod has no IPv6 address, the end needs none: with IPv6 each device of the
    /// node has a multicast route, and the kernel looks at those of all pods for the place of the next.
    pub fn of_node(addresses: &[IpAddr]) -> Self {
        match addresses.iter().any(IpAddr::is_ipv6) {
            true => Self::with_ipv6(),
            false => Self { accept_ra: None, disable_ipv6: Some(true) },
        }
    }

    /// Those of the pod's end, which is left to the pod if that has no IPv6 address of ours.
    pub fn of_pod(addresses: &[IpAddr]) -> Self {
        match addresses.iter().any(IpAddr::is_ipv6) {
            true => Self::with_ipv6(),
            false => Self { accept_ra: Some(false), disable_ipv6: None },
        }
    }

    /// Some administrators switch IPv6 off by default, as do some runtimes in their pods. By an `accept_ra` of
    /// 2 a pod could tell the node where its routers are.
    fn with_ipv6() -> Self {
        Self { accept_ra: Some(false), disable_ipv6: Some(false) }
    }

    /// Brings them about on a device.
    ///
    /// # Errors
    /// A setting cannot be written.
    pub fn set(self, kernel: &mut dyn Kernel, dev: &str) -> Result<(), Error> {
        self.keys(dev).try_for_each(|(key, value)| kernel.set_sysctl(&key, value).map(drop))?;
        Ok(())
    }

    /// The same for a device that was just made.
    ///
    /// # Errors
    /// A setting cannot be written.
    pub fn set_new(self, kernel: &mut dyn Kernel, dev: &str) -> Result<(), KernelError> {
        self.keys(dev).try_for_each(|(key, value)| kernel.write_sysctl(&key, value).map(drop))
    }

    /// Whether [`set`](Self::set) has nothing to do.
    pub fn stand(self, settings: &Settings) -> bool {
        let is = |setting: Option<u32>, wanted: Option<bool>| {
            setting.zip(wanted).is_none_or(|(setting, wanted)| setting == u32::from(wanted))
        };
        is(settings.accept_ra, self.accept_ra) && is(settings.disable_ipv6, self.disable_ipv6)
    }

    fn keys(self, dev: &str) -> impl Iterator<Item = (String, &'static str)> {
        let settings = [("accept_ra", self.accept_ra), ("disable_ipv6", self.disable_ipv6)];
        settings.into_iter().filter_map(move |(name, value)| {
            let value = if value? { "1" } else { "0" };
            Some((format!("net/ipv6/conf/{dev}/{name}"), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 7));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7));

    fn settings(accept_ra: u32, disable_ipv6: u32) -> Settings {
        let (accept_ra, disable_ipv6) = (Some(accept_ra), Some(disable_ipv6));
        Settings { accept_ra, disable_ipv6, ..Settings::default() }
    }

    #[test]
    fn an_end_has_ipv6_if_its_pod_has_or_may_want_it() {
        let (both, four) = (&[V4, V6][..], &[V4][..]);
        for (guards, expected) in [
            (Guards::of_node(both), &["accept_ra=0", "disable_ipv6=0"][..]),
            (Guards::of_pod(both), &["accept_ra=0", "disable_ipv6=0"]),
            (Guards::of_node(four), &["disable_ipv6=1"]),
            (Guards::of_pod(four), &["accept_ra=0"]),
        ] {
            let mut node = Fake::default();
            guards.set_new(&mut node, "v").unwrap();
            let expected = expected.iter().map(|end| format!("sysctl -w net/ipv6/conf/v/{end}"));
            assert_eq!(node.log, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_stands_is_known() {
        let (both, four) = (&[V4, V6][..], &[V4][..]);
        for (guards, right, wrong) in [
            (Guards::of_node(both), settings(0, 0), [settings(2, 0), settings(0, 1)]),
            (Guards::of_node(four), settings(1, 1), [settings(0, 0), settings(1, 0)]),
            (Guards::of_pod(four), settings(0, 1), [settings(1, 0), settings(2, 1)]),
        ] {
            assert!(guards.stand(&right), "{guards:?}: {right:?}");
            wrong.iter().for_each(|wrong| assert!(!guards.stand(wrong), "{guards:?}: {wrong:?}"));
            assert!(guards.stand(&Settings::default()), "{guards:?}: a kernel without IPv6");
        }
    }
}
