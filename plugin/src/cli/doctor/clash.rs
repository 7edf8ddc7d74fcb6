//! Somebody else has the overlay's VNI or its UDP port.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::scene::Scene;
use crate::error::Error;
use crate::kernel::{Kernel as _, Link, LinkKind};

const WHY: &str = "the overlay cannot be made: pods reach no other node";

/// Looks at the VXLAN devices and at the UDP sockets, unless the overlay is up: then it has both.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    if scene.overlay.as_ref().is_some_and(|link| link.up) {
        return Ok(Vec::new());
    }
    let file = scene.look.site.file();
    let (vni, port) = (file.vni, file.port);
    let links = scene.look.kernel.links()?;
    let name = crate::identity::overlay_name(vni);
    if let Some(finding) = vni_taken(&links, &name, vni) {
        return Ok(vec![finding]);
    }
    // The calling thread's own namespace; a kernel without IPv6 has no second file.
    let tables = ["udp", "udp6"].map(|table| Path::new("/proc/thread-self/net").join(table));
    let sockets = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let taken = sockets.into_iter().any(|table| has_port(&table, port));
    let shared = links
        .iter()
        .any(|link| link.up && matches!(&link.kind, LinkKind::Vxlan(vxlan) if vxlan.port == port));
    Ok(if taken && !shared { vec![port_taken(port)] } else { Vec::new() })
}

fn vni_taken(links: &[Link], ours: &str, vni: u32) -> Option<Finding> {
    let rival = links.iter().find(|link| {
        link.dev.name != ours && matches!(&link.kind, LinkKind::Vxlan(vxlan) if vxlan.vni == vni)
    })?;
    let name = &rival.dev.name;
    Some(Finding::advise(
        format!("the VXLAN device {name} already has VNI {vni}"),
        WHY,
        format!(
            "give this network another vni in its range file, or remove {name} if nobody needs it"
        ),
    ))
}

fn port_taken(port: u16) -> Finding {
    Finding::advise(
        format!("UDP port {port} is taken by another program"),
        WHY,
        format!(
            "`ss -ulpn sport = :{port}` shows which: stop it, or set another port in the range file"
        ),
    )
}

/// Whether a table of `/proc/net/udp` has a socket at a port.
fn has_port(table: &str, port: u16) -> bool {
    let ports = table.lines().skip(1).filter_map(|line| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    });
    ports.into_iter().any(|found| found == port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::vxlan;
    use crate::kernel::fake::Fake;

    #[test]
    fn a_device_with_our_vni_is_named() {
        let mut fake = Fake::default();
        let kind = LinkKind::Vxlan(vxlan(7, 4789, "192.0.2.1".parse().unwrap()));
        fake.add("flat.7", 1450, &[], kind.clone());
        assert_eq!(vni_taken(&fake.links().unwrap(), "flat.7", 7), None);
        fake.add("flannel.1", 1450, &[], kind);
        let found = vni_taken(&fake.links().unwrap(), "flat.7", 7).unwrap();
        assert_eq!(found.what, "the VXLAN device flannel.1 already has VNI 7");
        assert_eq!(vni_taken(&fake.links().unwrap(), "flat.7", 8), None);
    }

    #[test]
    fn ports_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20 77: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2\n";
        assert!(has_port(table, 4789));
        assert!(!has_port(table, 4790));
        assert!(!has_port("", 4789));
    }
}
