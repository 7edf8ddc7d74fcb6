//! How often a server that does not answer is asked again: ever less often, never by all nodes at once, and by
//! one watch of a node at a time.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::backoff::{self, random};

const FIRST: Duration = Duration::from_millis(250);
/// Nodes are to hear of each other within seconds after the server is back.
const LONGEST: Duration = Duration::from_secs(5);
/// For so long the nodes of a store that went back tell it what it has forgotten: longer than the longest pause of an
/// agent that asks whether it is there again.
pub const FORGETS: Duration = Duration::from_secs(10);

/// How long to wait after so many failures; all nodes' began at one moment, when the server went away.
pub fn delay(failures: u32, random: f64) -> Duration {
    backoff::delay(FIRST, LONGEST, failures, random)
}

/// How long to wait before all objects are listed again, as every node of a cluster may just now: a millisecond
/// for each, so that a thousand of them are asked for a second.
pub fn spread(objects: usize, random: f64) -> Duration {
    Duration::from_millis(objects.min(10_000) as u64).mul_f64(random)
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Well.
    Good,
    /// The server answered, and refused.
    Refused,
    /// There was no answer.
    Unreachable,
}

/// The way to the server, which the watches of a node share.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    unreachable: bool,
}

/// The turn of one watch.
pub struct Turn<'a>(MutexGuard<'a, Failures>);

impl Turns {
    /// Waits until it is this one's turn, and for as long as the failures before it ask for. The first whose
    /// turn ends well lets all others go at once.
    pub async fn turn(&self) -> Turn<'_> {
        let failures = self.0.lock().await;
        if let Some(before) = failures.count.checked_sub(1) {
            tokio::time::sleep(delay(before, random())).await;
        }
        Turn(failures)
    }
}

impl Turn<'_> {
    /// A server that is back refuses at first, while it reads what it is to serve: it is asked again soon.
    pub fn ends(mut self, end: End) {
        let back = self.0.unreachable && end == End::Refused;
        self.0.count = match end {
            End::Good => 0,
            _ if back => 1,
            _ => self.0.count.saturating_add(1),
        };
        self.0.unreachable = end == End::Unreachable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_an_end_and_differ() {
        let longest: Vec<_> = (0..8).map(|failures| delay(failures, 1.0).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        assert_eq!(delay(u32::MAX, 0.0), LONGEST / 2);
        assert_eq!(delay(0, 0.5).as_micros(), 187_500);
    }

    #[test]
    fn a_large_cluster_does_not_list_at_once() {
        assert_eq!(spread(5000, 1.0), Duration::from_secs(5));
        assert_eq!(spread(20, 0.5), Duration::from_millis(10));
        assert_eq!(spread(usize::MAX, 1.0), Duration::from_secs(10));
    }

    /// How long one waits for its turn.
    async fn waits(turns: &Turns, end: End) -> Duration {
        let began = tokio::time::Instant::now();
        turns.turn().await.ends(end);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_succeeds_lets_the_others_go() {
        let turns = Turns::default();
        for _ in 0..10 {
            waits(&turns, End::Unreachable).await;
        }
        assert!(waits(&turns, End::Good).await >= LONGEST / 2);
        assert_eq!(waits(&turns, End::Good).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_back_is_asked_soon_and_one_that_refuses_for_long_is_not() {
        let turns = Turns::default();
        for _ in 0..10 {
            waits(&turns, End::Unreachable).await;
        }
        waits(&turns, End::Refused).await;
        assert!(waits(&turns, End::Refused).await <= FIRST);
        for _ in 0..10 {
            waits(&turns, End::Refused).await;
        }
        assert!(waits(&turns, End::Refused).await >= LONGEST / 2);
    }
}
