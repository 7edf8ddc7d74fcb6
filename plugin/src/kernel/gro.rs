//! Generic receive offload (GRO) of one device, as `ethtool -k` shows it: the family `ethtool` of
//! generic netlink (Linux 5.7). Calls speak to the calling thread's network namespace.

use netlink_packet_core::DefaultNla;
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use super::attribute::{decode, find, find_text, nest, text};
use super::message::{Refusal, Request};
use super::socket::{Failure, Socket};
use super::{Dev, KernelError};

/// What the kernel calls it (`netdev_features_strings`).
const GRO: &str = "rx-gro";

/// Whether a device puts received packets together; `None` if the kernel is too old to be asked
/// this way, or the device has gone since it was looked at. `ethtool -k DEV`
///
/// # Errors
/// The kernel refuses.
pub(super) fn is_on(dev: &Dev) -> Result<Option<bool>, KernelError> {
    const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
    const ACTIVE: u16 = 4;
    let answers = match ethtool(dev, "-k", ETHTOOL_MSG_FEATURES_GET, None) {
        Err(error) if error.errno() == Some(Errno::ENODEV) => None,
        answers => answers?,
    };
    Ok(answers.map(|answers| {
        let active = answers.first().and_then(|answer| find(answer, ACTIVE));
        active.is_some_and(|features| names(features).any(|name| name == GRO))
    }))
}

/// Switches it off; nothing happens if the kernel is too old. `ethtool -K DEV gro off`
///
/// # Errors
/// The kernel refuses.
pub(super) fn switch_off(dev: &Dev) -> Result<(), KernelError> {
    const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
    const WANTED: u16 = 3;
    // A bit that is named without a value is to be 0.
    let bit = nest(BIT, &[text(BIT_NAME, GRO)]);
    let wanted = nest(WANTED, &[nest(BITS, &[bit])]);
    ethtool(dev, "-K", ETHTOOL_MSG_FEATURES_SET, Some(wanted)).map(drop)
}

// A set of features, `ETHTOOL_A_BITSET_*`.
const BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;

/// The names in a set of those features that are on.
fn names(features: &[u8]) -> impl Iterator<Item = &str> {
    let bits = find(features, BITS).unwrap_or_default();
    decode(bits).filter_map(|(_, bit)| find_text(bit, BIT_NAME))
}

/// One question about a device; `None` without the family.
fn ethtool(
    dev: &Dev,
    option: &str,
    command: u8,
    content: Option<DefaultNla>,
) -> Result<Option<Vec<Vec<u8>>>, KernelError> {
    const HEADER: u16 = 1;
    const DEV_INDEX: u16 = 1;
    let explain = |failure: Failure| failure.of(&format!("ethtool {option} {}", dev.name));
    let mut socket = Socket::open(NETLINK_GENERIC).map_err(explain)?;
    let Some(family) = family(&mut socket).map_err(explain)? else { return Ok(None) };
    let index = DefaultNla::new(DEV_INDEX, dev.index.to_ne_bytes().to_vec());
    let mut attributes = vec![nest(HEADER, &[index])];
    attributes.extend(content);
    let request = Request::new(family, genlmsghdr(command), &attributes.as_slice());
    socket.ask(&request, 0).map(Some).map_err(explain)
}

/// The number of the family `ethtool`.
fn family(socket: &mut Socket) -> Result<Option<u16>, Failure> {
    const GENL_ID_CTRL: u16 = 16;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let name = [text(FAMILY_NAME, "ethtool")];
    let request = Request::new(GENL_ID_CTRL, genlmsghdr(CTRL_CMD_GETFAMILY), &&name[..]);
    match socket.ask(&request, 0) {
        Ok(answers) => {
            let id = answers.first().and_then(|answer| find(answer, FAMILY_ID));
            let id = id.and_then(|id| id.try_into().ok()).map(u16::from_ne_bytes);
            id.map(Some).ok_or(Failure::Unreadable("no number in it"))
        }
        Err(Failure::Refused(Refusal { errno: Errno::ENOENT, .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// `struct genlmsghdr`: command, version 1.
fn genlmsghdr(command: u8) -> [u8; 4] {
    [command, 1, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attribute::encoded;

    fn bit(name: &str) -> DefaultNla {
        nest(BIT, &[text(BIT_NAME, name)])
    }

    #[test]
    fn features_are_found_by_name() {
        let bytes = encoded(&[nest(BITS, &[bit("tx-lockless"), bit("rx-gro")])]);
        assert_eq!(names(&bytes).collect::<Vec<_>>(), ["tx-lockless", "rx-gro"]);
        assert_eq!(names(&[]).count(), 0);
        assert_eq!(names(&bytes[..bytes.len() - 1]).count(), 0, "cut short");
    }

    #[test]
    fn a_device_that_has_gone_is_no_error() {
        let dev = |index, name: &str| Dev { index, name: name.to_owned() };
        assert!(is_on(&dev(1, "lo")).unwrap().is_some(), "the first of each namespace");
        assert_eq!(is_on(&dev(i32::MAX as u32, "gone")).unwrap(), None);
    }
}
