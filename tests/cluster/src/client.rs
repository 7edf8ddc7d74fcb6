//! A client of agnhost that is no pod, in any network namespace: HTTP as far as that speaks it (a request without a
//! body, an answer that ends with the connection), and datagrams.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use flatnet_tests::netns::Netns;

/// How long an answer may take; agnhost itself gives up after five seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// Asks from a namespace by HTTP.
///
/// # Errors
/// What the kernel or the server said.
pub fn get(netns: &Netns, server: SocketAddr, path: &str) -> Result<String, String> {
    netns.run(|| exchange(server, path)).map_err(|error| format!("http://{server}{path}: {error}"))
}

/// Asks from a namespace by a datagram.
///
/// # Errors
/// What the kernel said.
pub fn datagram(netns: &Netns, server: SocketAddr, asked: &str) -> Result<String, String> {
    datagram_within(netns, server, asked, PATIENCE)
}

/// The same, for which there may be no answer: none is waited for longer than this.
///
/// # Errors
/// What the kernel said.
pub fn datagram_within(
    netns: &Netns,
    server: SocketAddr,
    asked: &str,
    patience: Duration,
) -> Result<String, String> {
    let exchange = || {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.set_read_timeout(Some(patience))?;
        socket.connect(server)?;
        socket.send(asked.as_bytes())?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned())
    };
    netns.run(exchange).map_err(|error: std::io::Error| format!("udp://{server} {asked}: {error}"))
}

fn exchange(server: SocketAddr, path: &str) -> Result<String, String> {
    let read = || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    body(&read().map_err(|error| error.to_string())?)
}

/// What an answer brings, if it is a good one.
fn body(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP: {answer}"))?;
    let status = head.split(' ').nth(1);
    if status == Some("200") { Ok(body.trim().to_owned()) } else { Err(answer.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_brings_something() {
        assert_eq!(body("HTTP/1.0 200 OK\r\nA: b\r\n\r\nweb\n"), Ok("web".to_owned()));
        assert!(body("HTTP/1.0 404 Not Found\r\n\r\nno").is_err());
        assert!(body("").is_err());
    }
}
