//! Another program has the overlay's VNI or its UDP port, where no look at this namespace's devices shows it:
//! a VXLAN device that was made here and is in another namespace, or a program.

use std::fs;
use std::path::{Path, PathBuf};

use super::namespaces::astray;
use super::scene::Scene;
use crate::author::Author;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::kernel::{Link, LinkKind, Observe as _, VxlanLink};
use crate::overlay::desired;
use crate::overlay::receiver::{holder, rival};

const WHY: &str = "the overlay cannot be made: pods reach no other node";

/// Looks at the devices of other namespaces and at the UDP sockets, unless the overlay is up: then it
/// has both.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    if scene.overlay.as_ref().is_some_and(|link| link.up) {
        return Ok(Vec::new());
    }
    let site = &scene.look.site;
    let vrf = scene.underlay.place.flow.vrf;
    let want = desired::device(site.file(), &site.node, scene.mtu.pods, vrf);
    let astray = astray()?;
    let port = want.vxlan.port;
    let who = (scene.author, &scene.sync[..]);
    let found = hidden(&astray, &want, who).or_else(|| {
        // Devices that receive alike share a socket, which is in the kernel's table once.
        let here = scene.look.kernel.vxlans().unwrap_or_default();
        let shared = here.iter().chain(astray.iter().map(|(_, link)| link));
        let shared = shared.into_iter().any(|link| has_port(link, port));
        (!shared && is_bound(port)).then(|| port_taken(port, who))
    });
    scene.clash = found.is_some();
    Ok(found.into_iter().collect())
}

/// One in another namespace. It is told to who writes the range file, and with the command that brings the overlay up.
fn hidden(
    astray: &[(PathBuf, Link)],
    want: &VxlanLink,
    (author, sync): (Author, &str),
) -> Option<Finding> {
    let links: Vec<Link> = astray.iter().map(|(_, link)| link.clone()).collect();
    let (link, vni) = match rival(&links, want) {
        Some(link) => (link, true),
        None => (holder(&links, want)?, false),
    };
    let (path, _) = astray.iter().find(|(_, found)| found == link)?;
    let (name, path) = (&link.dev.name, path.display());
    let device = format!("the VXLAN device {name} in the network namespace {path}");
    let (vni_, port) = (want.vxlan.vni, want.vxlan.port);
    let (what, key) = match vni {
        true => (format!("{device} already has VNI {vni_} at UDP port {port} of this node"), "vni"),
        false => (format!("UDP port {port} is taken by {device}, with other options"), "port"),
    };
    let change = author.setting(&format!("give this network another {key} in"), "the range file");
    let mend = format!(
        "{change}; or, if {name} is not needed (Docker's overlay networks have such devices: `docker network \
         ls`), `nsenter --net={path} ip link del {name}`; then `{sync}`"
    );
    Some(Finding::advise(what, WHY, mend))
}

fn port_taken(port: u16, (author, sync): (Author, &str)) -> Finding {
    let change = author.setting("set another port in", "the range file");
    Finding::advise(
        format!("UDP port {port} is taken by another program"),
        WHY,
        format!(
            "`ss -ulpn sport = :{port}` shows which: stop it, or {change}; then `{sync}`. If it shows none, a \
             VXLAN device has it that was made here and is in a network namespace that no process or file shows"
        ),
    )
}

fn has_port(link: &Link, port: u16) -> bool {
    link.up && matches!(&link.kind, LinkKind::Vxlan(vxlan) if vxlan.port == port)
}

/// Whether any socket of the calling thread's namespace has a port; a kernel without IPv6 has no second
/// file.
fn is_bound(port: u16) -> bool {
    let tables = ["udp", "udp6"].map(|table| Path::new("/proc/thread-self/net").join(table));
    let sockets = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    sockets.into_iter().any(|table| lists(&table, port))
}

/// Whether a table of `/proc/net/udp` has a socket at a port.
fn lists(table: &str, port: u16) -> bool {
    let ports = table.lines().skip(1).filter_map(|line| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    });
    ports.into_iter().any(|found| found == port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Mend;
    use crate::kernel::fake::Fake;
    use crate::kernel::{Vxlan, VxlanLink};
    use crate::overlay::desired::vxlan;

    fn told(theirs: Vxlan) -> Option<(String, String)> {
        let vtep = "192.0.2.1".parse().unwrap();
        let mut fake = Fake::default();
        fake.add("vx0", 1450, &[], LinkKind::Vxlan(theirs));
        let astray: Vec<_> =
            fake.links().unwrap().into_iter().map(|link| ("/run/netns/x".into(), link)).collect();
        let vxlan = vxlan(7, 4789, vtep);
        let mac = crate::identity::vtep_mac(7, vtep);
        let want = VxlanLink { name: "flat.7".into(), mac, group: 0, mtu: 1450, vxlan };
        let found = hidden(&astray, &want, (Author::Operator, "flatnet sync"))?;
        match found.mend {
            Mend::Do(mend) => Some((found.what, mend)),
            Mend::Run(command) => panic!("{command}"),
        }
    }

    #[test]
    fn a_device_elsewhere_is_named_with_its_namespace() {
        let theirs = |vni| vxlan(vni, 4789, "192.0.2.1".parse().unwrap());
        let (what, mend) = told(theirs(7)).unwrap();
        assert_eq!(
            what,
            "the VXLAN device vx0 in the network namespace /run/netns/x already has VNI 7 at UDP port \
             4789 of this node"
        );
        assert!(mend.contains("`nsenter --net=/run/netns/x ip link del vx0`; then"), "{mend}");
        // They share the port.
        assert_eq!(told(theirs(8)), None);
        assert_eq!(told(Vxlan { port: 8472, ..theirs(7) }), None);
        let external = Vxlan { vni: 0, local: None, special: true, ..theirs(7) };
        let (what, _) = told(external).unwrap();
        assert_eq!(
            what,
            "UDP port 4789 is taken by the VXLAN device vx0 in the network namespace /run/netns/x, with \
             other options"
        );
    }

    #[test]
    fn ports_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20 77: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2\n";
        assert!(lists(table, 4789));
        assert!(!lists(table, 4790));
        assert!(!lists("", 4789));
    }
}
