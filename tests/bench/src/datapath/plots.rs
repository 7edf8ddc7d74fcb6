//! The plot of this part.

use super::{FLANNEL, HOST, Place, Setting, case};
use crate::measure::{FAST, FLATNET, Key, UPLINK};
use crate::report::{Bars, Report};

/// Each kind of traffic between two nodes, as a multiple of what the nodes themselves have.
pub fn draw(report: &mut Report, folder: &std::path::Path) {
    let kinds = [
        (FLATNET, Setting::Masquerade, "flatnet, masquerade"),
        (FLANNEL, Setting::Masquerade, "flannel's objects, masquerade"),
        (FLATNET, Setting::Plain, "flatnet"),
        (FLANNEL, Setting::Plain, "flannel's objects"),
        (FAST, Setting::Masquerade, "flatnet, fast path, masquerade"),
        (UPLINK, Setting::Masquerade, "flatnet, from the uplink, masquerade"),
    ];
    let group = |(test, name): &(&str, &str)| {
        let of_host = |(contender, setting, _): &(&str, Setting, &str)| {
            let of = Key::new(contender, test, case(Place::Far, *setting, 1));
            report.findings.ratio(&of, &Key::new(HOST, test, case(Place::Far, Setting::Plain, 1)))
        };
        ((*name).to_owned(), kinds.iter().map(of_host).collect())
    };
    let groups = [
        ("TCP stream", "TCP stream"),
        ("64-byte UDP packets", "UDP packets/s"),
        ("TCP connections", "connections/s"),
        ("TCP round trip, p50", "TCP latency"),
        ("UDP round trip, p50", "UDP latency"),
        ("CPU per gigabyte", "CPU per gigabyte"),
    ];
    let title =
        "pods on two nodes, one flow; host to host = 1; higher is better in the first three groups";
    let bars = Bars {
        title,
        unit: "ratio",
        kinds: kinds.map(|(_, _, name)| name).into(),
        groups: groups.iter().map(group).collect(),
    };
    bars.write(&report.plot(folder, "datapath", title));
}
