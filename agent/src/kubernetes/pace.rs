//! When the own Node is asked for, although no column of it says something new.

use std::time::Duration;

use tokio::time::Instant;

/// A kubelet that has nothing to say says so every five minutes (`nodeStatusReportFrequency`).
const HEARTBEAT: Duration = Duration::from_secs(4 * 60);
/// So often at most is a Node asked for that only may have changed.
const SELDOM: Duration = Duration::from_secs(10 * 60);

/// When a Node was written: sooner than a heartbeat is due, somebody had something to say. That may be of no interest,
/// so that it is not asked for each time.
#[derive(Debug, Default)]
pub struct Pace {
    written: Option<Instant>,
    read: Option<Instant>,
    /// It was written since it was read, and not by a heartbeat.
    changed: bool,
}

impl Pace {
    /// The Node was written.
    pub fn writes(&mut self, now: Instant) {
        let before = self.written.replace(now);
        self.changed |= before.is_some_and(|before| now - before < HEARTBEAT);
    }

    /// It was asked for.
    pub fn reads(&mut self, now: Instant) {
        (self.read, self.changed) = (Some(now), false);
    }

    /// When it is to be asked for.
    pub fn due(&self) -> Option<Instant> {
        self.read.filter(|_| self.changed).map(|read| read + SELDOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_asked_for_when_it_is_written_out_of_turn() {
        let mut pace = Pace::default();
        let minute = Duration::from_secs(60);
        pace.reads(Instant::now());
        for _ in 0..4 {
            pace.writes(Instant::now());
            assert_eq!(pace.due(), None, "heartbeats");
            tokio::time::advance(5 * minute).await;
        }
        pace.writes(Instant::now());
        tokio::time::advance(minute).await;
        pace.writes(Instant::now());
        assert!(pace.due().is_some_and(|due| due <= Instant::now()), "at once");
        pace.reads(Instant::now());
        assert_eq!(pace.due(), None);
        tokio::time::advance(minute).await;
        pace.writes(Instant::now());
        assert_eq!(
            pace.due(),
            Some(Instant::now() + 9 * minute),
            "again it is not asked for at once"
        );
    }
}
