//! Hosts that say that no program listens at a UDP port: ICMP port unreachable (RFC 792, RFC 4443).

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

use crate::cli::asker::Asker;

/// How long a refusal may take.
const TIMEOUT: Duration = Duration::from_millis(500);
/// No more hosts are asked than this: each costs a socket, and what is wrong with a hundred is
/// wrong with the first of them.
pub const MOST: usize = 32;

/// Who fills in the checksum of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The device that it leaves by, if it says that it can.
    ByDevice,
    /// The kernel, which does not leave that of a datagram made of several parts to a device
    /// (`ip_append_data`, since Linux 4.0).
    ByKernel,
}

/// Those of the hosts that refuse the port. What is sent is no packet of an overlay: VXLAN drops a
/// header without its flag (RFC 7348, section 5). A host that cannot be sent to does not refuse.
pub fn refused(hosts: &[IpAddr], port: u16, asker: &Asker) -> BTreeSet<IpAddr> {
    Knocks::at(hosts, port, Checksum::ByDevice, asker).refused()
}

/// Datagrams under way, one to each host.
pub struct Knocks {
    asked: Vec<(IpAddr, UdpSocket)>,
    deadline: Instant,
}

impl Knocks {
    /// Sends them.
    pub fn at(hosts: &[IpAddr], port: u16, checksum: Checksum, asker: &Asker) -> Self {
        let knock = |host: &IpAddr| {
            let knock = knock(*host, port, checksum, asker);
            knock.ok().map(|socket| (*host, socket))
        };
        let asked = hosts.iter().take(MOST).filter_map(knock).collect();
        Self { asked, deadline: Instant::now() + TIMEOUT }
    }

    /// Waits for those that are refused.
    pub fn refused(self) -> BTreeSet<IpAddr> {
        let refused = self.asked.into_iter().filter(|(_, to)| refuses(to, self.deadline));
        refused.map(|(host, _)| host).collect()
    }
}

fn knock(host: IpAddr, port: u16, checksum: Checksum, asker: &Asker) -> io::Result<UdpSocket> {
    let family = match host {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    asker.bind(&socket)?;
    let socket = UdpSocket::from(socket);
    socket.connect((host, port))?;
    match checksum {
        Checksum::ByDevice => socket.send(&[0; 8])?,
        Checksum::ByKernel => {
            let more = MsgFlags::from_bits_retain(libc::MSG_MORE);
            send(socket.as_raw_fd(), &[0; 4], more)?;
            socket.send(&[0; 4])?
        }
    };
    Ok(socket)
}

fn refuses(socket: &UdpSocket, deadline: Instant) -> bool {
    loop {
        // What came before it was looked at is still there after the deadline.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let received = socket.set_read_timeout(Some(left)).and_then(|()| socket.recv(&mut [0; 8]));
        match received.map_err(|error| error.kind()) {
            Err(ErrorKind::ConnectionRefused) => return true,
            Err(ErrorKind::Interrupted) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_port_without_a_socket_is_refused() {
        for host in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            let open = UdpSocket::bind((host, 0)).unwrap();
            let port = open.local_addr().unwrap().port();
            assert_eq!(refused(&[host], port, &Asker::default()), BTreeSet::new());
            drop(open);
            let end = Instant::now() + Duration::from_secs(60);
            for checksum in [Checksum::ByDevice, Checksum::ByKernel] {
                let refused = || Knocks::at(&[host], port, checksum, &Asker::default()).refused();
                // A program that another test starts at this moment may still hold the socket open.
                while refused() != [host].into() {
                    assert!(Instant::now() < end, "{host} {checksum:?}");
                }
            }
        }
    }

    #[test]
    fn a_datagram_in_parts_is_one() {
        let open = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let to = open.local_addr().unwrap();
        knock(to.ip(), to.port(), Checksum::ByKernel, &Asker::default()).unwrap();
        assert_eq!(open.recv(&mut [0; 16]).unwrap(), 8);
    }
}
