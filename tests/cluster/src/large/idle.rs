//! What hosts hear and do while nothing happens to the network.

use std::thread;
use std::time::{Duration, Instant};

use flatnet_cluster::patience::check_interrupted;

use super::host::{Host, worst_of};
use super::report::Figures;

/// The worst of the hosts; for how long that was, in seconds.
pub fn measure(hosts: &[&Host], window: Duration, figures: &mut Figures) -> f64 {
    let counts = || -> Vec<[f64; 2]> {
        hosts.iter().map(|host| [host.received(), host.cpu().as_secs_f64()]).collect()
    };
    let (begun, before) = (Instant::now(), counts());
    while begun.elapsed() < window {
        check_interrupted();
        thread::sleep(Duration::from_millis(200));
    }
    let after = counts();
    let seconds = begun.elapsed().as_secs_f64();
    let most = |which: usize| worst_of(before.iter().zip(&after).map(|(a, b)| b[which] - a[which]));
    figures.bytes = Some(most(0) / seconds * 60.0 / 1000.0);
    figures.idle = Some(most(1) / seconds * 100.0);
    seconds
}
