//! The moment in which a route stands, as the kernel itself tells it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use flatnet_cluster::patience::check_interrupted;
use flatnet_tests::program::command;

use super::host::Host;

/// How long a route may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the kernels of some hosts tell of new routes.
pub struct Watch {
    monitors: Vec<Child>,
    told: Receiver<(usize, String, Instant)>,
}

impl Watch {
    /// Begins to listen on each host.
    pub fn new(hosts: &[&Host]) -> Self {
        let (sender, told) = channel();
        let monitors = hosts.iter().enumerate().map(|(index, host)| {
            let mut monitor = command("ip", ["-4", "monitor", "route"]);
            let start = || monitor.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
            let mut monitor = host.netns.run(start).expect("ip monitor");
            let lines = BufReader::new(monitor.stdout.take().expect("a piped stdout")).lines();
            let sender = sender.clone();
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let range = line.split(' ').next().unwrap_or_default().to_owned();
                    if sender.send((index, range, Instant::now())).is_err() {
                        return;
                    }
                }
            });
            monitor
        });
        Self { monitors: monitors.collect(), told }
    }

    /// Waits until each host has a route to a range; how long after `begun` each had it, in seconds.
    pub fn stands(&self, range: &str, begun: Instant) -> Vec<f64> {
        let mut times: Vec<Option<f64>> = vec![None; self.monitors.len()];
        while times.iter().any(Option::is_none) {
            check_interrupted();
            assert!(begun.elapsed() < PATIENCE, "no route to {range} on some hosts: {times:?}");
            let Ok((host, told, at)) = self.told.recv_timeout(Duration::from_millis(100)) else {
                continue;
            };
            if told == range {
                times[host].get_or_insert((at - begun).as_secs_f64());
            }
        }
        times.into_iter().flatten().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for monitor in &mut self.monitors {
            drop(monitor.kill());
            drop(monitor.wait());
        }
    }
}
