//! What the kernel announces while something runs: `ip monitor` with a start and an end that are
//! known, so that "no event" means that there was none, not that the listener came too late.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::netns::Netns;
use crate::program::command;
use crate::wait::PATIENCE;

/// How often the first mark is repeated while the monitor starts.
const RETRY: Duration = Duration::from_millis(100);

/// A running monitor of links, addresses, routes, neighbours (the FDB among them) and rules.
#[derive(Debug)]
pub struct Monitor<'a> {
    netns: &'a Netns,
    child: Child,
    lines: Receiver<String>,
}

impl<'a> Monitor<'a> {
    /// Starts to listen; returns when an event made for the purpose has been heard.
    pub fn start(netns: &'a Netns) -> Self {
        let objects = ["-o", "monitor", "link", "address", "route", "neigh", "rule"];
        let mut child = netns
            .run(|| command("ip", objects).stdin(Stdio::null()).stdout(Stdio::piped()).spawn())
            .expect("start ip monitor");
        let output = BufReader::new(child.stdout.take().expect("a piped stdout"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            // Ends with the monitor, or with the receiver.
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let monitor = Self { netns, child, lines };
        let deadline = Instant::now() + PATIENCE;
        while monitor.until(monitor.mark(1), RETRY).is_none() {
            assert!(Instant::now() < deadline, "ip monitor in {} hears nothing", netns.name());
        }
        monitor
    }

    /// The events since the start that are not the marks' own, one line each.
    pub fn events(self) -> Vec<String> {
        self.until(self.mark(2), PATIENCE).expect("ip monitor went deaf")
    }

    /// Makes an event that nothing else makes: an address of the loopback comes and goes. Returns
    /// the text to look for.
    fn mark(&self, n: u8) -> String {
        let address = format!("127.99.99.{n}");
        self.netns.exec(&format!("ip addr add {address}/32 dev lo"));
        self.netns.exec(&format!("ip addr del {address}/32 dev lo"));
        format!("Deleted local {address} ")
    }

    /// The lines before the one with `mark`; none if it does not come within `patience`.
    fn until(&self, mark: String, patience: Duration) -> Option<Vec<String>> {
        let deadline = Instant::now() + patience;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(&mark) => return Some(seen),
                Ok(line) if line.contains("127.99.99.") => {}
                // That of a multicast address goes when there are many, whichever namespaces have them.
                Ok(line) if line.contains(" NOARP") => {}
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("ip monitor ended"),
            }
        }
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_a_change_and_only_that() {
        let netns = Netns::new("monitor");
        let monitor = Monitor::start(&netns);
        netns.exec("ip route add blackhole 10.9.0.0/16 proto 102");
        let events = monitor.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].starts_with("blackhole 10.9.0.0/16"), "{events:?}");
        assert_eq!(Monitor::start(&netns).events(), Vec::<String>::new());
    }
}
