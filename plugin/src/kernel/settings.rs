//! Settings of a device, from the message that tells of the device: below `/proc/sys/net` each would be
//! a file to open, in the namespace that it is about.

use super::attribute::find;

/// Settings of one device; `None` where the kernel has no such one, because it or the device is without
/// that family. `sysctl net.ipv4.conf.DEV net.ipv6.conf.DEV`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `net.ipv4.conf.DEV.forwarding`
    pub forwarding: Option<u32>,
    /// `net.ipv4.conf.DEV.rp_filter`
    pub rp_filter: Option<u32>,
    /// `net.ipv6.conf.DEV.accept_ra`
    pub accept_ra: Option<u32>,
    /// `net.ipv6.conf.DEV.disable_ipv6`
    pub disable_ipv6: Option<u32>,
}

/// The settings in the payload of a `RTM_NEWLINK`.
pub(super) fn settings(payload: &[u8]) -> Settings {
    const IFINFOMSG: usize = 16;
    const IFLA_AF_SPEC: u16 = 26;
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    const IFLA_INET_CONF: u16 = 1;
    const IFLA_INET6_CONF: u16 = 2;
    let families = payload.get(IFINFOMSG..).and_then(|all| find(all, IFLA_AF_SPEC));
    let values = |family, list| find(find(families?, family)?, list);
    let four = values(AF_INET, IFLA_INET_CONF);
    let six = values(AF_INET6, IFLA_INET6_CONF);
    Settings {
        // `IPV4_DEVCONF_*` count from 1, `DEVCONF_*` from 0.
        forwarding: nth(four, 0),
        rp_filter: nth(four, 7),
        accept_ra: nth(six, 3),
        disable_ipv6: nth(six, 26),
    }
}

fn nth(values: Option<&[u8]>, n: usize) -> Option<u32> {
    values?.get(4 * n..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attribute::numbered;

    #[test]
    fn each_is_read_from_its_place_in_the_list() {
        let list = |length: u32| (0..length).flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
        let of = |four: &[u8], six: &[u8]| {
            let families = numbered(&[(2, &numbered(&[(1, four)])), (10, &numbered(&[(2, six)]))]);
            settings(&[vec![0; 16], numbered(&[(26, &families)])].concat())
        };
        let all = of(&list(33), &list(60));
        let expected = (Some(0), Some(7), Some(3), Some(26));
        let Settings { forwarding, rp_filter, accept_ra, disable_ipv6 } = all;
        assert_eq!((forwarding, rp_filter, accept_ra, disable_ipv6), expected);
        let short = of(&list(7), &list(26));
        assert_eq!((short.rp_filter, short.disable_ipv6), (None, None), "an older kernel's");
        assert_eq!(settings(&[0; 16]), Settings::default());
        assert_eq!(settings(&[]), Settings::default());
    }
}
