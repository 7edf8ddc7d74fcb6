//! The plot of this part.

use super::{BATCH, Extent, FROM_NOTHING, ONE_CHANGED, PLAIN, UNCHANGED, with_peers};
use crate::measure::{FLATNET, Key};
use crate::report::{Lines, Report};

/// The time to apply a range file over the number of its peers.
pub fn draw(extent: &Extent, report: &mut Report, folder: &std::path::Path) {
    let line = |(contender, test, name): &(&str, &str, &'static str)| {
        let point = |peers: &u32| {
            let series = report.findings.series(&Key::new(contender, test, with_peers(*peers)));
            (f64::from(*peers), series.expect("what was measured").median())
        };
        (*name, extent.peers.iter().map(point).collect())
    };
    let lines = [
        (FLATNET, FROM_NOTHING, "flatnet, from nothing"),
        (FLATNET, UNCHANGED, "flatnet, unchanged"),
        (FLATNET, ONE_CHANGED, "flatnet, one changed"),
        (BATCH, FROM_NOTHING, "ip + bridge -batch, the same entries"),
        (PLAIN, FROM_NOTHING, "ip + bridge -batch, without metrics"),
    ];
    let title = "applying a range file: median, ms";
    let lines = Lines { title, units: ["peers", "ms"], lines: lines.iter().map(line).collect() };
    lines.write(&report.plot(folder, "scale", title));
}
