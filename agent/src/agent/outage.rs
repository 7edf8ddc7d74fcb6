//! That the source does not answer: since when, and why. How long it has lasted the wall clock does not tell, which may
//! be set meanwhile, by hours where a machine begins without its time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// So many reasons are logged of one outage.
const REASONS: usize = 8;
/// The wall clock was set if it is so far from where it would be.
const SET: Duration = Duration::from_secs(2);

/// An outage that lasts.
#[derive(Debug)]
pub struct Outage {
    begun: Instant,
    /// The same by the wall clock, as was told.
    since: SystemTime,
    why: String,
    said: BTreeSet<String>,
}

impl Outage {
    /// It begins.
    pub fn new(why: String, wall: SystemTime) -> Self {
        let said = BTreeSet::from([why.clone()]);
        Self { begun: Instant::now(), since: wall, why, said }
    }

    /// Since when, by the wall clock, and why.
    pub fn told(&self) -> (SystemTime, String) {
        (self.since, self.why.clone())
    }

    /// How long it has lasted.
    pub fn lasted(&self) -> Duration {
        self.begun.elapsed()
    }

    /// This is why it lasts; says whether that is new.
    pub fn goes_on(&mut self, why: String) -> bool {
        let is_new = self.said.len() < REASONS && self.said.insert(why.clone());
        self.why = why;
        is_new
    }

    /// Goes by the wall clock as it is now; says whether that was set.
    pub fn look_at_clock(&mut self, wall: SystemTime) -> bool {
        let since = wall.checked_sub(self.lasted()).unwrap_or(wall).max(SystemTime::UNIX_EPOCH);
        let apart = since.duration_since(self.since).unwrap_or_else(|ahead| ahead.duration());
        let is_set = apart > SET;
        if is_set {
            self.since = since;
        }
        is_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_moves_its_beginning_and_not_how_long_it_lasts() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let wall = SystemTime::UNIX_EPOCH + 1000 * hour;
        let mut outage = Outage::new("refused".to_owned(), wall);
        tokio::time::advance(30 * second).await;
        assert!(!outage.look_at_clock(wall + 31 * second), "it is slewed");
        assert_eq!(outage.told().0, wall);
        for set in [wall + 5 * hour, wall - 5 * hour, wall] {
            assert!(outage.look_at_clock(set + 30 * second));
            assert_eq!(outage.told().0, set);
            assert!(!outage.look_at_clock(set + 30 * second), "once");
        }
        assert!(outage.look_at_clock(SystemTime::UNIX_EPOCH), "a machine without a battery");
        assert_eq!(outage.told().0, SystemTime::UNIX_EPOCH);
        assert_eq!(outage.lasted(), 30 * second);
    }

    #[tokio::test]
    async fn reasons_are_told_when_they_are_new_and_not_for_ever() {
        let mut outage = Outage::new("refused".to_owned(), SystemTime::now());
        assert!(!outage.goes_on("refused".to_owned()));
        assert!(outage.goes_on("expired".to_owned()));
        assert!(!outage.goes_on("refused".to_owned()), "it was said");
        assert_eq!(outage.told().1, "refused", "but it is why");
        let new = (0..100).filter(|n| outage.goes_on(n.to_string())).count();
        assert_eq!(new, REASONS - 2);
    }
}
