//! Peers that do not answer, and as far as that shows from here, why.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::reverse_path;
use super::scene::Scene;
use crate::cli::ask::ask;
use crate::error::Error;

/// How long a peer may take to refuse a datagram.
const REFUSAL: Duration = Duration::from_millis(500);
const WHY: &str = "no pod of this node reaches its pods";

/// What one peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    vtep: IpAddr,
    /// Its addresses on the overlay that did not answer.
    silent: Vec<IpAddr>,
    /// Whether one did.
    some: bool,
    /// Whether there is a way to its VTEP.
    routed: bool,
    /// Whether its VTEP answered.
    underlay: bool,
    /// Whether the overlay's UDP port was refused (ICMP port unreachable).
    refused: bool,
}

/// Asks every peer over the overlay, and those that are silent in other ways.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let dropped = reverse_path::dropped();
    let (port, own) = (scene.look.site.file().port, scene.look.site.node.vtep);
    let routed: HashSet<IpAddr> =
        scene.underlay.peers.iter().filter_map(|(vtep, path)| path.map(|_| *vtep)).collect();
    let all = scene.unexplained().map(|peer| Seen {
        name: peer.name.clone(),
        vtep: peer.vtep,
        silent: scene.shared_addresses(peer),
        some: false,
        routed: routed.contains(&peer.vtep),
        underlay: false,
        refused: false,
    });
    let mut seen: Vec<Seen> = all.collect();
    let all: Vec<IpAddr> = seen.iter().flat_map(|seen| seen.silent.clone()).collect();
    let answers = ask(&all, None)?;
    for seen in &mut seen {
        let before = seen.silent.len();
        seen.silent.retain(|address| !answers.contains_key(address));
        seen.some = seen.silent.len() < before;
    }
    seen.retain(|seen| !seen.silent.is_empty());
    let vteps: Vec<IpAddr> = seen.iter().map(|seen| seen.vtep).collect();
    let answers = ask(&vteps, None)?;
    for seen in &mut seen {
        seen.underlay = answers.contains_key(&seen.vtep);
        seen.refused = seen.routed && refuses(seen.vtep, port);
    }

    let dropped = reverse_path::dropped().saturating_sub(dropped);
    let silent: Vec<_> = seen.iter().map(|seen| (&seen.name[..], seen.vtep)).collect();
    let uplinks: Vec<u32> =
        scene.underlay.peers.iter().filter_map(|(_, path)| Some((*path)?.dev)).collect();
    let strict = reverse_path::strict(&mut scene.look.kernel, &uplinks)?;
    if let Some(finding) = reverse_path::judge(dropped, &strict, &silent) {
        return Ok(vec![finding]);
    }
    let words = Words { port, own, file: scene.range_file() };
    Ok(seen.iter().map(|seen| words.judge(seen)).collect())
}

/// Whether a host says that nobody listens at a UDP port. What is sent is no packet of the overlay:
/// VXLAN drops a header without its flag (RFC 7348, section 5).
fn refuses(vtep: IpAddr, port: u16) -> bool {
    let any: IpAddr =
        if vtep.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let knock = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((vtep, port))?;
        socket.set_read_timeout(Some(REFUSAL))?;
        socket.send(&[0; 8])?;
        let asked = Instant::now();
        loop {
            match socket.recv(&mut [0; 8]) {
                Err(e) if e.kind() == ErrorKind::Interrupted && asked.elapsed() < REFUSAL => {}
                other => return other,
            }
        }
    };
    knock().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

/// What all findings speak of.
struct Words {
    port: u16,
    own: IpAddr,
    file: String,
}

impl Words {
    fn judge(&self, seen: &Seen) -> Finding {
        let Self { port, own, file } = self;
        let Seen { name, vtep, .. } = seen;
        let addresses: Vec<_> = seen.silent.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(" and ");
        if seen.some {
            return Finding::advise(
                format!("{name} answers over the overlay, but not at {addresses}"),
                "pods reach its pods in one family only",
                format!("run `flatnet doctor` on {name}"),
            );
        }
        if !seen.routed {
            return Finding::advise(
                format!("there is no route to {vtep}, the VTEP of {name}"),
                WHY,
                format!("give this node a route there (`ip route get {vtep}`), or correct {file}"),
            );
        }
        if seen.refused {
            return Finding::advise(
                format!("{name} ({vtep}) refuses UDP port {port}"),
                WHY,
                format!(
                    "run `flatnet sync` on {name}: it has no overlay yet; or let its firewall accept \
                     UDP port {port} from {own}"
                ),
            );
        }
        if seen.underlay {
            return Finding::advise(
                format!(
                    "{name} answers at its VTEP {vtep}, but not over the overlay at {addresses}: UDP \
                     port {port} is blocked, or {name} has another range file"
                ),
                WHY,
                format!(
                    "let the firewalls of {name}, of this node and between them accept UDP port {port} \
                     (on {name}: `iptables -I INPUT -p udp --dport {port} -s {own} -j ACCEPT`), and run \
                     `flatnet sync` on {name}"
                ),
            );
        }
        Finding::advise(
            format!(
                "{name} is dead or cut off: it answers neither at its VTEP {vtep} nor at {addresses}"
            ),
            WHY,
            format!("bring {name} back, or take it out of {file} on every node"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_peer_is_silent() {
        let silent = Seen {
            name: "b".into(),
            vtep: "192.0.2.2".parse().unwrap(),
            silent: vec!["10.1.2.0".parse().unwrap()],
            some: false,
            routed: true,
            underlay: false,
            refused: false,
        };
        let words = Words { port: 4789, own: "192.0.2.1".parse().unwrap(), file: "/f".into() };
        let table = [
            (silent.clone(), "b is dead or cut off: it answers neither at its VTEP 192.0.2.2"),
            (Seen { routed: false, ..silent.clone() }, "there is no route to 192.0.2.2"),
            (Seen { underlay: true, ..silent.clone() }, "UDP port 4789 is blocked"),
            (
                Seen { underlay: true, refused: true, ..silent.clone() },
                "b (192.0.2.2) refuses UDP port 4789",
            ),
            (Seen { some: true, ..silent }, "b answers over the overlay, but not at 10.1.2.0"),
        ];
        for (seen, what) in table {
            let found = words.judge(&seen).what;
            assert!(found.contains(what), "{found}");
        }
    }
}
