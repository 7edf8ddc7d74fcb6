//! Whether the namespace has IPsec policies: packets that pass the network stack by pass these by, too.

use netlink_packet_core::DefaultNla;
use nix::errno::Errno;

use super::KernelError;
use super::attribute::find;
use super::decode::number;
use super::message::Request;
use super::socket::{Failure, Socket};

/// The protocol's number.
pub(super) const NETLINK_XFRM: isize = 6;

/// Whether there is any policy in the calling thread's namespace. `ip xfrm policy count`
pub(super) fn has_policies() -> Result<bool, KernelError> {
    const XFRM_MSG_GETSPDINFO: u16 = 0x25;
    /// `struct xfrmu_spdinfo`: policies in, out and forward, then those of sockets and hash tables.
    const XFRMA_SPD_INFO: u16 = 1;
    const COUNTED: usize = 3;
    let named = |failure: Failure| failure.of("ip xfrm policy count");
    let mut socket = match Socket::open(NETLINK_XFRM) {
        Ok(socket) => socket,
        // A kernel without IPsec.
        Err(Failure::Socket { source, .. })
            if source.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) =>
        {
            return Ok(false);
        }
        Err(failure) => return Err(named(failure)),
    };
    // Its header is one number, of flags, as long as those of the families that `Request` is made for.
    let none: &[DefaultNla] = &[];
    let request = Request::new(XFRM_MSG_GETSPDINFO, [0xff; 4], &none);
    let answer = socket.ask_one(&request).map_err(named)?;
    let counts = find(&answer, XFRMA_SPD_INFO).unwrap_or_default().chunks_exact(4).take(COUNTED);
    Ok(counts.filter_map(number).sum::<u32>() > 0)
}
