//! Who on a link has an IPv4 address: ARP (RFC 826), asked as before an address is taken (RFC 5227,
//! section 2.1.1), so that no table of neighbours learns from the question.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use flatnet_conf::Mac;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, bind, recv, send};

use crate::error::Error;

/// How often is asked.
const TIMES: u32 = 3;
/// How long answers are waited for each time: hosts of one link answer within a millisecond.
const WAIT: Duration = Duration::from_millis(150);
/// Ethernet and ARP for IPv4.
const LENGTH: usize = 42;

/// Who answers for these addresses on the link of a device with this MAC, which is in the calling
/// thread's namespace: an address may have several answers, or none.
///
/// # Errors
/// No packet can be sent there.
pub fn who_has(dev: &str, addresses: &[Ipv4Addr], own: Mac) -> Result<Vec<(Ipv4Addr, Mac)>, Error> {
    let failed = |source: io::Error| Error::File {
        action: "send ARP requests by",
        path: dev.to_owned(),
        source,
    };
    let socket = open(dev).map_err(failed)?;
    let mut found = Vec::new();
    for _ in 0..TIMES {
        for address in addresses {
            let question = request(*address, own);
            send(socket.as_raw_fd(), &question, MsgFlags::empty()).map_err(|e| failed(e.into()))?;
        }
        let deadline = Instant::now() + WAIT;
        while let Some(frame) = receive(&socket, deadline).map_err(failed)? {
            found.extend(answer(&frame).filter(|(address, _)| addresses.contains(address)));
        }
    }
    Ok(found)
}

/// A packet socket for ARP on one device.
fn open(dev: &str) -> io::Result<OwnedFd> {
    let protocol = i32::from((libc::ETH_P_ARP as u16).to_be());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) has no precondition. nix has no name for ETH_P_ARP, and with ETH_P_ALL this
    // would be handed every packet of an uplink.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, protocol) })?;
    // SAFETY: the descriptor was just opened, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let device = getifaddrs()?
        .filter(|entry| entry.interface_name == dev)
        .find_map(|entry| entry.address?.as_link_addr().copied());
    let device = device.ok_or(Errno::ENODEV)?;
    bind(socket.as_raw_fd(), &device)?;
    Ok(socket)
}

/// The next frame; `None` at the deadline.
fn receive(socket: &OwnedFd, deadline: Instant) -> io::Result<Option<[u8; LENGTH]>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let mut frame = [0; LENGTH];
        if recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty())? == LENGTH {
            return Ok(Some(frame));
        }
    }
}

/// A question without the sender's protocol address.
fn request(address: Ipv4Addr, own: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH);
    frame.extend([0xff; 6]);
    frame.extend(own.0);
    frame.extend([0x08, 0x06]); // ARP
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]); // Ethernet, IPv4, their lengths, request
    frame.extend(own.0);
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// Which address somebody says that it has.
fn answer(frame: &[u8; LENGTH]) -> Option<(Ipv4Addr, Mac)> {
    let is_reply = frame[12..14] == [0x08, 0x06] && frame[20..22] == [0, 2];
    let sender: [u8; 6] = frame[22..28].try_into().ok()?;
    let address: [u8; 4] = frame[28..32].try_into().ok()?;
    is_reply.then(|| (address.into(), Mac(sender)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_counts() {
        let (address, own) = (Ipv4Addr::new(192, 0, 2, 1), Mac([2, 0, 0, 0, 0, 1]));
        let question = request(address, own);
        let mut frame: [u8; LENGTH] = question.try_into().unwrap();
        assert_eq!(answer(&frame), None, "a question");
        frame[21] = 2;
        frame[28..32].copy_from_slice(&address.octets());
        assert_eq!(answer(&frame), Some((address, own)));
        frame[13] = 0;
        assert_eq!(answer(&frame), None, "another protocol");
    }
}
