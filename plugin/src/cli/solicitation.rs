//! Who on a link has an IPv6 address: neighbour solicitation (RFC 4861, section 7.2).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use flatnet_conf::Mac;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};

use crate::error::Error;
use crate::kernel::Dev;

/// How often is asked.
const TIMES: u32 = 3;
/// How long answers are waited for each time: hosts of one link answer within a millisecond.
const WAIT: Duration = Duration::from_millis(150);
/// Types of ICMPv6.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Only a message that no router has forwarded counts.
const HOP_LIMIT: i32 = 255;

/// Which of these addresses somebody answers for on the link of a device with this MAC, which is in the
/// calling thread's namespace.
///
/// # Errors
/// No packet can be sent there.
pub fn who_has(dev: &Dev, addresses: &[Ipv6Addr], own: Mac) -> Result<BTreeSet<Ipv6Addr>, Error> {
    let failed = |source: io::Error| Error::File {
        action: "send neighbour solicitations by",
        path: dev.name.clone(),
        source,
    };
    let socket = open(&dev.name).map_err(failed)?;
    let mut found = BTreeSet::new();
    for _ in 0..TIMES {
        for address in addresses.iter().filter(|address| !found.contains(*address)) {
            let to = SocketAddrV6::new(group(*address), 0, 0, dev.index);
            socket.send_to(&request(*address, own), to).map_err(failed)?;
        }
        let deadline = Instant::now() + WAIT;
        while found.len() < addresses.len() {
            let Some(message) = receive(&socket, deadline).map_err(failed)? else { break };
            found.extend(answer(&message).filter(|address| addresses.contains(address)));
        }
    }
    Ok(found)
}

/// A raw socket for ICMPv6 on one device.
fn open(dev: &str) -> io::Result<UdpSocket> {
    let protocol = Some(SockProtocol::IcmpV6);
    let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&raw, sockopt::BindToDevice, &OsString::from(dev))?;
    setsockopt(&raw, sockopt::Ipv6MulticastHops, &HOP_LIMIT)?;
    // To the standard library any socket that sends and receives datagrams is of this type.
    Ok(UdpSocket::from(raw))
}

/// The start of the next message; `None` at the deadline.
fn receive(socket: &UdpSocket, deadline: Instant) -> io::Result<Option<[u8; 24]>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let mut message = [0; 24];
        match socket.recv(&mut message) {
            Ok(_) => return Ok(Some(message)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The solicited-node multicast address (RFC 4291, section 2.7.1).
fn group(address: Ipv6Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | (address.to_bits() & 0x00ff_ffff))
}

/// With the source link-layer address, to which the answer goes. The kernel fills in the checksum.
fn request(address: Ipv6Addr, own: Mac) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    message.extend([1, 1]);
    message.extend(own.0);
    message
}

/// The address that somebody says it has.
fn answer(message: &[u8; 24]) -> Option<Ipv6Addr> {
    let target: [u8; 16] = message[8..24].try_into().ok()?;
    (message[0] == ADVERTISEMENT).then(|| target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_goes_to_the_group_and_is_no_answer() {
        let address: Ipv6Addr = "fd00:50::12:3456".parse().unwrap();
        assert_eq!(group(address), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        let question = request(address, Mac([2, 0, 0, 0, 0, 1]));
        let mut message: [u8; 24] = question[..24].try_into().unwrap();
        assert_eq!(answer(&message), None);
        message[0] = ADVERTISEMENT;
        assert_eq!(answer(&message), Some(address));
    }
}
