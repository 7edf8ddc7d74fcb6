//! How long to wait before something that failed is tried again: ever longer, and not all nodes at once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// What has failed so far.
#[derive(Debug)]
pub struct Patience {
    /// Different on each node.
    seed: u64,
    times: u32,
    until: Option<Instant>,
}

impl Patience {
    /// That of a node.
    pub fn of(node: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        node.hash(&mut hasher);
        Self { seed: hasher.finish(), times: 0, until: None }
    }

    /// Until when nothing is to be tried.
    pub fn until(&self) -> Option<Instant> {
        self.until.filter(|until| Instant::now() < *until)
    }

    /// Whether something has failed and can be tried again.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// It has failed once more.
    pub fn failed(&mut self) {
        let longest = FIRST.saturating_mul(1 << self.times.min(7)).min(LONGEST);
        self.times = self.times.saturating_add(1);
        // Between half of it and all of it.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let part =
            f64::from(u32::try_from(self.seed >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        self.until = Some(Instant::now() + longest.mul_f64(0.5 + part / 2.0));
    }

    /// It has not.
    pub fn succeeded(&mut self) {
        (self.times, self.until) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_and_differs_from_node_to_node() {
        let waits = |node: &str| -> Vec<Duration> {
            let mut patience = Patience::of(node);
            let wait = |_| {
                patience.failed();
                patience.until().unwrap() - Instant::now()
            };
            (0..12).map(wait).collect()
        };
        let (a, b) = (waits("a"), waits("b"));
        assert_ne!(a, b);
        for (times, wait) in a.iter().chain(&b).enumerate() {
            let longest = FIRST.saturating_mul(1 << (times % 12).min(7)).min(LONGEST);
            assert!(*wait >= longest / 2 && *wait <= longest, "{times}: {wait:?}");
        }
        let mut patience = Patience::of("a");
        patience.failed();
        tokio::time::advance(FIRST).await;
        assert_eq!(patience.until(), None, "it is over");
        assert!(patience.is_over());
        patience.failed();
        patience.succeeded();
        assert_eq!(patience.until(), None);
    }
}
