//! Ports of the node that lead to a container: by the plugin that the network's configuration has for that, as for
//! any other runtime.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use serde_json::{Value, json};

use super::known::Found;
use super::{Endpoints, Outcome};
use crate::overlay::gateway::gateway;
use crate::runtime::chain::{self, Wanted};
use crate::runtime::list::List;

/// A port of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The container's.
    pub container: u16,
    /// The node's.
    pub host: u16,
    /// The node's address that it is at; all if empty.
    pub host_ip: String,
}

impl Endpoints {
    /// Leads them to an endpoint.
    ///
    /// # Errors
    /// There is none who does it, a server of the node has one of them, or it fails.
    pub fn publish(&self, endpoint: &str, ports: &[PublishedPort]) -> Outcome<()> {
        let found = self.get(endpoint)?;
        // The plugin does not ask, and would lead the server's clients to the container.
        let taken = |port: &PublishedPort| port.taken(&found.record.addresses);
        if let Some(place) = ports.iter().find_map(taken) {
            // In Docker's own words.
            return Err(format!("Bind for {place} failed: port is already allocated"));
        }
        let ports: Vec<Value> = ports.iter().map(PublishedPort::in_words_of_cni).collect();
        let list = List::in_folder(&found.conf.name, &self.conf_dir)?;
        chain::publish(&list, &wanted(&found, ports), &result(&found))
    }

    /// Leads none there any more. Nothing happens where none can be. The network's configuration may be gone.
    ///
    /// # Errors
    /// It fails, or it cannot be told whether there is such an endpoint.
    pub fn withdraw(&self, endpoint: &str) -> Outcome<()> {
        let Some(found) = self.find(endpoint)? else { return Ok(()) };
        let name = &found.conf.name;
        let list = List::in_folder(name, &self.conf_dir).unwrap_or_else(|problem| {
            log::warn!("{problem}; going on without");
            List::lost(name)
        });
        // The plugin takes them away by the container, and does nothing for one that has none.
        let any = json!({ "hostPort": 1, "containerPort": 1, "protocol": "tcp" });
        chain::withdraw(&list, &wanted(&found, vec![any]))
    }
}

impl PublishedPort {
    /// Where on the node a server has it already, of the places that would lead to these addresses of a container.
    fn taken(&self, addresses: &[IpAddr]) -> Option<SocketAddr> {
        self.places(addresses).into_iter().find(|place| is_taken(self.protocol, *place))
    }

    fn places(&self, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let led = |place: &IpAddr| addresses.iter().any(|to| to.is_ipv4() == place.is_ipv4());
        let places = match self.host_ip.parse() {
            Ok(place) => vec![place],
            Err(_) if self.host_ip.is_empty() => any.to_vec(),
            // The plugin says what is wrong with it.
            Err(_) => Vec::new(),
        };
        places.into_iter().filter(led).map(|place| SocketAddr::new(place, self.host)).collect()
    }

    fn in_words_of_cni(&self) -> Value {
        let mut port = json!({
            "hostPort": self.host, "containerPort": self.container, "protocol": self.protocol,
        });
        if !self.host_ip.is_empty() {
            port["hostIP"] = json!(self.host_ip);
        }
        port
    }
}

/// Whether a socket of the node is bound there. In doubt none is: of an address that the node has not, for one. Of SCTP
/// it is not asked, which would load its module.
fn is_taken(protocol: &str, place: SocketAddr) -> bool {
    let kind = match protocol {
        "tcp" => SockType::Stream,
        "udp" => SockType::Datagram,
        _ => return false,
    };
    let family = if place.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let bound = || {
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if kind == SockType::Stream {
            // A connection that has just ended holds no port.
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        }
        if place.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(place))
    };
    bound() == Err(Errno::EADDRINUSE)
}

fn wanted(found: &Found, ports: Vec<Value>) -> Wanted {
    let holder = &found.record.attachment;
    Wanted {
        container_id: holder.container_id.clone(),
        name: String::new(),
        netns: holder.sandbox.clone().unwrap_or_default(),
        ifname: holder.ifname.clone(),
        asked: [("portMappings".to_owned(), Value::from(ports))].into_iter().collect(),
    }
}

/// What an ADD would have answered, as far as it matters to who publishes ports.
fn result(found: &Found) -> Value {
    let holder = &found.record.attachment;
    let ips = found.record.addresses.iter().map(|address| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        json!({ "interface": 1, "address": format!("{address}/{length}"), "version": if address.is_ipv4() { "4" } else { "6" },
                "gateway": gateway(address.is_ipv4()) })
    });
    json!({
        "cniVersion": "0.4.0",
        "interfaces": [
            { "name": holder.veth },
            { "name": holder.ifname, "sandbox": holder.sandbox.clone().unwrap_or_default() },
        ],
        "ips": ips.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn port(protocol: &'static str, host: u16, host_ip: &str) -> PublishedPort {
        PublishedPort { protocol, container: 80, host, host_ip: host_ip.to_owned() }
    }

    #[test]
    fn a_port_is_looked_for_where_it_would_be_led_from() {
        let (v4, v6) = ([10, 1, 1, 7].into(), "fd00::7".parse().unwrap());
        for (host_ip, addresses, expected) in [
            ("", &[v4, v6][..], &["0.0.0.0:8080", "[::]:8080"][..]),
            ("", &[v4], &["0.0.0.0:8080"]),
            ("192.0.2.1", &[v4, v6], &["192.0.2.1:8080"]),
            ("::", &[v4], &[]),
            ("here", &[v4], &[]),
        ] {
            let places = port("tcp", 8080, host_ip).places(addresses);
            let places: Vec<_> = places.iter().map(ToString::to_string).collect();
            assert_eq!(places, expected, "{host_ip}");
        }
    }

    #[test]
    fn what_a_server_has_is_taken_in_its_protocol_and_at_its_address() {
        let here = [IpAddr::from([127, 0, 0, 1])];
        let server = TcpListener::bind("127.0.0.2:0").unwrap();
        let (at, number) = (server.local_addr().unwrap(), server.local_addr().unwrap().port());
        assert_eq!(port("tcp", number, "127.0.0.2").taken(&here), Some(at));
        let everywhere = port("tcp", number, "").taken(&here);
        assert_eq!(everywhere, Some(SocketAddr::new([0, 0, 0, 0].into(), number)));
        assert_eq!(port("sctp", number, "127.0.0.2").taken(&here), None);
        assert_eq!(port("tcp", number, "127.0.0.3").taken(&here), None);
        let udp = UdpSocket::bind(at).unwrap();
        assert_eq!(port("udp", number, "127.0.0.2").taken(&here), Some(at));
        drop(udp);
        assert_eq!(port("udp", number, "127.0.0.2").taken(&here), None);
        // The server's end is closed first, and stays for a minute.
        let client = TcpStream::connect(at).unwrap();
        drop(server.accept().unwrap());
        drop((client, server));
        assert_eq!(port("tcp", number, "127.0.0.2").taken(&here), None);
    }
}
