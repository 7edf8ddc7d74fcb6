//! Nodes that join: how long it takes until all others have a route to one, and what it costs them.

use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flatnet_bench::stats::quantile;

use super::crowd;
use super::host::{Host, worst_of};
use super::report::Figures;
use super::routes::Watch;

/// What comes behind a route, a daemon does within this: it is part of the cost.
const TAIL: Duration = Duration::from_millis(500);

/// One after the other; `join` writes what a node has when it comes, and returns when it began with that, `known`
/// checks that a host's files know a node as well.
pub fn measure(
    hosts: &[&Host],
    joining: Range<u32>,
    join: impl Fn(u32) -> Instant,
    known: impl Fn(&str),
    figures: &mut Figures,
) {
    let watch = Watch::new(hosts);
    let cpu = || hosts.iter().map(|host| host.cpu().as_secs_f64()).collect::<Vec<_>>();
    let before = cpu();
    let count = f64::from(joining.end - joining.start);
    let mut times = Vec::new();
    for index in joining {
        times.extend(watch.stands(&crowd::range(index), join(index)));
        known(&crowd::name(index));
        sleep(TAIL);
    }
    let used = before.iter().zip(cpu()).map(|(before, after)| after - before);
    figures.join_cpu = Some(worst_of(used) / count * 1000.0);
    figures.join = Some(quantile(&times, 0.99));
    figures.join_median = Some(quantile(&times, 0.5));
}
