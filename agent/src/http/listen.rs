//! Where the agent can be asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6V6Only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be taken; the kernel has a limit of its own (`net.core.somaxconn`).
const WAITING: u32 = 1024;

/// Listens. `[::]` is every address of the node, of IPv4 too, as a kubelet asks 127.0.0.1: whatever
/// `net.ipv6.bindv6only` says, and also where the kernel has no IPv6 (`ipv6.disable=1`).
///
/// # Errors
/// What the kernel said.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let (socket, address) = match open(address) {
        Ok(socket) => (socket, address),
        Err(error) => {
            let instead = instead(address, &error).ok_or(error)?;
            (open(instead)?, instead)
        }
    };
    if is_every(address) {
        setsockopt(&socket, Ipv6V6Only, &false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

fn open(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

fn is_every(address: SocketAddr) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// Every address that there is, where an IPv6 socket is not to be had.
fn instead(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let without = error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32);
    (without && is_every(address)).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_is_of_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            TcpStream::connect((address, port)).unwrap();
        }
        let one = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = one.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
        // Nobody else has it meanwhile.
        let error = listen(one.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn without_ipv6_every_address_is_an_ipv4_one() {
        let without = io::Error::from(Errno::EAFNOSUPPORT);
        let other = io::Error::from(Errno::EMFILE);
        let every = "[::]:9449".parse().unwrap();
        assert_eq!(instead(every, &without), Some("0.0.0.0:9449".parse().unwrap()));
        assert_eq!(instead(every, &other), None);
        assert_eq!(instead("[::1]:9449".parse().unwrap(), &without), None);
    }
}
