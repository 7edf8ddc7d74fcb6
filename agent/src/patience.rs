//! What has failed and waits to be tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{delay, random};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// What has failed so far.
#[derive(Debug, Default)]
pub struct Patience {
    times: u32,
    until: Option<Instant>,
}

impl Patience {
    /// Until when nothing is to be tried.
    pub fn until(&self) -> Option<Instant> {
        self.until.filter(|until| Instant::now() < *until)
    }

    /// Whether something has failed and can be tried again.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// It was tried, and came out well, or failed once more.
    pub fn came_out(&mut self, well: bool) {
        (self.times, self.until) = if well {
            (0, None)
        } else {
            let wait = delay(FIRST, LONGEST, self.times, random());
            (self.times.saturating_add(1), Some(Instant::now() + wait))
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_and_differs_from_node_to_node() {
        let waits = || -> Vec<Duration> {
            let mut patience = Patience::default();
            let wait = |_| {
                patience.came_out(false);
                patience.until().unwrap() - Instant::now()
            };
            (0..12).map(wait).collect()
        };
        let (a, b) = (waits(), waits());
        assert_ne!(a, b);
        for (times, wait) in a.iter().chain(&b).enumerate() {
            let longest = FIRST.saturating_mul(1 << (times % 12).min(7)).min(LONGEST);
            assert!(*wait >= longest / 2 && *wait <= longest, "{times}: {wait:?}");
        }
        let mut patience = Patience::default();
        patience.came_out(false);
        tokio::time::advance(FIRST).await;
        assert_eq!(patience.until(), None, "it is over");
        assert!(patience.is_over());
        patience.came_out(false);
        patience.came_out(true);
        assert_eq!(patience.until(), None);
    }
}
