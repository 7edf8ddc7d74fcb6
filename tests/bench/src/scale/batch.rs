//! The peer: iproute2, fed with what flatnet put into the kernel, entry by entry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatnet_tests::kernel;
use flatnet_tests::program::system;

use super::site::Site;
use crate::process::Program;

/// The files of `ip -batch` and `bridge -batch` that make the same overlay.
#[derive(Debug)]
pub struct Batch {
    everything: PathBuf,
    entries: PathBuf,
    fdb: PathBuf,
}

/// Whether the routes have the metrics that flatnet gives them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// A metric of its own for each peer, as flatnet does.
    Own,
    /// None, as most write routes.
    None,
}

impl Batch {
    /// Reads the overlay of a node where flatnet has applied the range file, and writes the files.
    pub fn read(site: &Site, metrics: Metrics, folder: &Path) -> Self {
        let (netns, overlay) = (&site.node().netns, site.node().overlay());
        let link = kernel::link(netns, &overlay).expect("the overlay device");
        let mac = link["address"].as_str().expect("a MAC");
        let (mtu, vtep, vni) = (&link["mtu"], site.node().vtep, site.node().network.vni);
        let mut device = format!(
            "link add {overlay} address {mac} mtu {mtu} type vxlan id {vni} local {vtep} \
             dstport 4789 srcport 49152 65535 nolearning\n\
             link set {overlay} addrgenmode none up\n"
        );
        for address in kernel::addresses(netns, &overlay) {
            writeln!(device, "addr add {address} dev {overlay}").expect("text");
        }
        let mut entries = String::new();
        for (address, mac) in kernel::neighbours(netns, &overlay) {
            writeln!(entries, "neigh replace {address} lladdr {mac} dev {overlay} nud permanent")
                .expect("text");
        }
        for route in kernel::routes(netns).iter().filter(|route| route.dev == overlay) {
            let via = route.via.as_ref().expect("a gateway");
            let src = route.src.as_ref().expect("a source");
            let metric = match metrics {
                Metrics::Own => format!(" metric {}", route.metric),
                Metrics::None => String::new(),
            };
            let dst = &route.dst;
            writeln!(
                entries,
                "route replace {dst} via {via} dev {overlay} onlink src {src} proto 102{metric}"
            )
            .expect("text");
        }
        let fdb: BTreeMap<_, _> = kernel::fdb(netns, &overlay).into_iter().collect();
        let fdb: String = fdb
            .iter()
            .map(|(mac, vtep)| format!("fdb replace {mac} dev {overlay} dst {vtep} self\n"))
            .collect();
        let file = |name: &str, text: &str| {
            let path = folder.join(format!("{metrics:?}-{name}"));
            fs::write(&path, text).expect("write a batch");
            path
        };
        Self {
            everything: file("everything", &format!("{device}{entries}")),
            entries: file("entries", &entries),
            fdb: file("fdb", &fdb),
        }
    }

    /// Makes the overlay from nothing.
    pub fn make(&self, site: &Site) -> Duration {
        site.run(&ip("ip", &self.everything)) + site.run(&ip("bridge", &self.fdb))
    }

    /// Makes it again where it stands.
    pub fn again(&self, site: &Site) -> Duration {
        site.run(&ip("ip", &self.entries)) + site.run(&ip("bridge", &self.fdb))
    }

    /// The command that needs most memory.
    pub fn largest(&self) -> Program {
        ip("ip", &self.everything)
    }
}

/// `ip -batch FILE`, `bridge -batch FILE`.
fn ip(program: &str, file: &Path) -> Program {
    Program::new(&system(program), ["-batch".to_owned(), file.display().to_string()])
}
