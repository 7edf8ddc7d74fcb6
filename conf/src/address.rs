//! What a text means as an address or a network, and which of them can bear traffic at all.
//!
//! Stricter than the parsers of the standard library and of `ipnetwork`: a network needs its
//! prefix length, and IPv4-mapped IPv6 is refused, because the kernel would treat as IPv4 what
//! every comparison here treats as IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// Reads one address.
pub(crate) fn parse_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| format!("{text:?} is not an IPv4 or IPv6 address"))?;
    refuse_mapped(text, address)?;
    Ok(address)
}

/// Reads an address with its prefix length, and keeps the host bits.
pub(crate) fn parse_network(text: &str) -> Result<IpNetwork, String> {
    let not_cidr = || format!("{text:?} is not a CIDR, as in \"10.244.1.0/24\"");
    let (address, prefix) = text.split_once('/').ok_or_else(not_cidr)?;
    let address: IpAddr = address.parse().map_err(|_| not_cidr())?;
    // `u8::from_str` would take "+8" and "08".
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (prefix.len() > 1 && prefix.starts_with('0')) {
        return Err(not_cidr());
    }
    let prefix = prefix.parse().map_err(|_| not_cidr())?;
    refuse_mapped(text, address)?;
    IpNetwork::new(address, prefix).map_err(|_| not_cidr())
}

/// Reads a network without host bits.
pub(crate) fn parse_canonical(text: &str) -> Result<IpNetwork, String> {
    canonical(parse_network(text)?)
}

/// Refuses a network that has host bits set.
pub(crate) fn canonical(network: IpNetwork) -> Result<IpNetwork, String> {
    if network.ip() == network.network() {
        return Ok(network);
    }
    let (first, prefix) = (network.network(), network.prefix());
    Err(format!("\"{network}\" has host bits set; write \"{first}/{prefix}\""))
}

/// Reads an address that may carry a prefix length, as runtimes write requested addresses.
pub(crate) fn parse_requested(text: &str) -> Result<IpAddr, String> {
    if text.contains('/') {
        parse_network(text).map(|network| network.ip())
    } else {
        parse_address(text)
    }
}

fn refuse_mapped(text: &str, address: IpAddr) -> Result<(), String> {
    match address {
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => Err(format!("{text:?} is IPv4-mapped IPv6; write it as IPv4, {four}")),
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

/// First and last address that no host may have, and what they are for (RFC 6890, RFC 4291).
type Special = (u128, u128, &'static str);

const SPECIAL_V4: [Special; 5] = [
    (0, 0x00ff_ffff, "unspecified addresses (0.0.0.0/8)"),
    (0x7f00_0000, 0x7fff_ffff, "loopback addresses (127.0.0.0/8)"),
    (0xa9fe_0000, 0xa9fe_ffff, "link-local addresses (169.254.0.0/16)"),
    (0xe000_0000, 0xefff_ffff, "multicast addresses (224.0.0.0/4)"),
    (0xffff_ffff, 0xffff_ffff, "broadcast addresses (255.255.255.255)"),
];

const SPECIAL_V6: [Special; 5] = [
    (0, 0, "unspecified addresses (::)"),
    (1, 1, "loopback addresses (::1)"),
    (0xffff_0000_0000, 0xffff_ffff_ffff, "IPv4-mapped addresses (::ffff:0:0/96)"),
    (0xfe80 << 112, (0xfec0 << 112) - 1, "link-local addresses (fe80::/10)"),
    (0xff00 << 112, u128::MAX, "multicast addresses (ff00::/8)"),
];

/// The special addresses that a network holds or lies in, if any.
pub(crate) fn special_use(network: IpNetwork) -> Option<&'static str> {
    let (first, last) = (bits(network.network()), bits(network.broadcast()));
    let table = if network.is_ipv4() { &SPECIAL_V4 } else { &SPECIAL_V6 };
    table.iter().find(|(low, high, _)| first <= *high && *low <= last).map(|entry| entry.2)
}

/// The address as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_bits().into(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// The address after this one in its family; `None` after the last.
pub(crate) fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(four) => four.to_bits().checked_add(1).map(|n| Ipv4Addr::from_bits(n).into()),
        IpAddr::V6(six) => six.to_bits().checked_add(1).map(|n| Ipv6Addr::from_bits(n).into()),
    }
}

/// The address before this one in its family; `None` before the first.
pub(crate) fn predecessor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(four) => four.to_bits().checked_sub(1).map(|n| Ipv4Addr::from_bits(n).into()),
        IpAddr::V6(six) => six.to_bits().checked_sub(1).map(|n| Ipv6Addr::from_bits(n).into()),
    }
}

/// The address so many after this one in its family, or the family's last.
pub(crate) fn ahead(address: IpAddr, count: u16) -> IpAddr {
    match address {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits().saturating_add(count.into())).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits().saturating_add(count.into())).into(),
    }
}

/// `IPv4` or `IPv6`.
pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for good in ["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "FD00::1/128", "::/0"] {
            assert!(parse_network(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "fd00::/129",
            "fe80::1%1/64",
        ];
        for bad in bad {
            let expected = format!("{bad:?} is not a CIDR, as in \"10.244.1.0/24\"");
            assert_eq!(parse_network(bad), Err(expected));
        }
    }

    #[test]
    fn canonical_form_is_shown() {
        assert_eq!(
            parse_canonical("10.244.1.5/24"),
            Err("\"10.244.1.5/24\" has host bits set; write \"10.244.1.0/24\"".to_owned())
        );
        assert_eq!(
            parse_canonical("fd00::1/64"),
            Err("\"fd00::1/64\" has host bits set; write \"fd00::/64\"".to_owned())
        );
    }

    #[test]
    fn mapped_is_refused() {
        assert_eq!(
            parse_address("::ffff:10.0.0.1"),
            Err("\"::ffff:10.0.0.1\" is IPv4-mapped IPv6; write it as IPv4, 10.0.0.1".to_owned())
        );
        assert!(parse_network("::ffff:10.0.0.0/104").is_err());
    }

    #[test]
    fn special_space() {
        let cases = [
            ("10.0.0.0/8", None),
            ("240.0.0.0/8", None),
            ("2001:db8::/32", None),
            ("0.0.0.0/0", Some("unspecified addresses (0.0.0.0/8)")),
            ("127.0.0.1/32", Some("loopback addresses (127.0.0.0/8)")),
            ("169.254.1.0/24", Some("link-local addresses (169.254.0.0/16)")),
            ("192.0.0.0/2", Some("multicast addresses (224.0.0.0/4)")),
            ("255.255.255.0/24", Some("broadcast addresses (255.255.255.255)")),
            ("::/0", Some("unspecified addresses (::)")),
            ("::1/128", Some("loopback addresses (::1)")),
            ("::fffe:0:0/95", Some("IPv4-mapped addresses (::ffff:0:0/96)")),
            ("febf::/16", Some("link-local addresses (fe80::/10)")),
            ("fec0::/16", None),
            ("ff02::/64", Some("multicast addresses (ff00::/8)")),
        ];
        for (network, expected) in cases {
            assert_eq!(special_use(parse_network(network).unwrap()), expected, "{network}");
        }
    }

    #[test]
    fn successors() {
        let next = |text| successor(parse_address(text).unwrap()).map(|next| next.to_string());
        assert_eq!(next("10.0.0.255").as_deref(), Some("10.0.1.0"));
        assert_eq!(next("255.255.255.255"), None);
        assert_eq!(next("fd00::ffff").as_deref(), Some("fd00::1:0"));
        assert_eq!(next("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), None);
        let before = |text| predecessor(parse_address(text).unwrap()).map(|last| last.to_string());
        assert_eq!(before("10.0.1.0").as_deref(), Some("10.0.0.255"));
        assert_eq!(before("fd00::1:0").as_deref(), Some("fd00::ffff"));
        assert_eq!((before("0.0.0.0"), before("::")), (None, None));
    }
}
