//! The plots of this part.

use super::contender::{BRIDGE, FLANNEL, PTP};
use super::{Extent, with_pods};
use crate::measure::{FLATNET, Key};
use crate::report::{Bars, Report};

/// ADD and DEL, one at a time and many at once.
pub fn draw(extent: &Extent, report: &mut Report, folder: &std::path::Path) {
    let kinds = vec![FLATNET, PTP, BRIDGE, FLANNEL];
    let one_by_one = extent.pods.iter().map(|count| with_pods(*count));
    let at_once = extent.parallel.iter().map(|count| super::at_once(*count));
    for (name, title, cases) in [
        ("attach", "one pod, by pods on the node: median, ms", one_by_one.collect::<Vec<_>>()),
        (
            "attach-parallel",
            "many pods at once, until the last is done: median, ms",
            at_once.collect(),
        ),
    ] {
        let groups = ["ADD", "DEL"].iter().flat_map(|verb| {
            let group = |case: &String| {
                let median = |kind: &&str| {
                    report
                        .findings
                        .series(&Key::new(kind, verb, case))
                        .map(|series| series.median())
                };
                (format!("{verb}, {case}"), kinds.iter().map(median).collect())
            };
            cases.iter().map(group).collect::<Vec<_>>()
        });
        let bars = Bars { title, unit: "ms", kinds: kinds.clone(), groups: groups.collect() };
        bars.write(&report.plot(folder, name, title));
    }
}
