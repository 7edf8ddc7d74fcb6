//! Hosts that say that nobody listens at a UDP port: ICMP port unreachable (RFC 792, RFC 4443).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How long a refusal may take.
const TIMEOUT: Duration = Duration::from_millis(500);
/// No more hosts are asked than this: each costs a socket, and what is wrong with a hundred is
/// wrong with the first of them.
const MOST: usize = 32;

/// Those of the hosts that refuse the port. What is sent is no packet of an overlay: VXLAN drops a
/// header without its flag (RFC 7348, section 5). A host that cannot be sent to does not refuse.
pub fn refused(hosts: &[IpAddr], port: u16) -> BTreeSet<IpAddr> {
    let knock = |host: &IpAddr| {
        let any: IpAddr = match host {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((*host, port)).ok()?;
        socket.send(&[0; 8]).ok()?;
        Some((*host, socket))
    };
    let asked: Vec<_> = hosts.iter().take(MOST).filter_map(knock).collect();
    let deadline = Instant::now() + TIMEOUT;
    let refused = asked.into_iter().filter(|(_, socket)| refuses(socket, deadline));
    refused.map(|(host, _)| host).collect()
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
    use super::*;

    #[test]
    fn a_port_without_a_socket_is_refused() {
        let host = IpAddr::from([127, 0, 0, 1]);
        let open = UdpSocket::bind((host, 0)).unwrap();
        let port = open.local_addr().unwrap().port();
        assert_eq!(refused(&[host], port), BTreeSet::new());
        drop(open);
        assert_eq!(refused(&[host], port), [host].into());
    }
}
