//! Whether an agent lives, by the lease that it renews.

use std::time::Duration;

use super::super::client::{Client, Failure, TIME_TO_LIVE};
use super::super::lease::interval;
use super::super::wire::{LeaseRequest, TimeToLiveResponse};

/// What is left of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Seconds that it lives from each renewal on.
    pub granted: i64,
    /// Seconds that are left.
    pub left: i64,
}

impl Life {
    /// How long ago it was renewed. A new leader of etcd renews all of them.
    pub fn age(&self) -> Duration {
        seconds(self.granted.saturating_sub(self.left))
    }

    /// In which time it runs out.
    pub fn left(&self) -> Duration {
        seconds(self.left)
    }

    /// Whether an agent that lives would have renewed it since.
    pub fn is_late(&self) -> bool {
        self.age() > interval(self.granted).mul_f64(1.5) + Duration::from_secs(1)
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.max(0).unsigned_abs())
}

/// What is left of one; `None` if there is none.
pub async fn life(client: &Client, id: i64) -> Result<Option<Life>, Failure> {
    let answer: TimeToLiveResponse = client.ask(TIME_TO_LIVE, LeaseRequest { id }).await?;
    let TimeToLiveResponse { ttl: left, granted } = answer;
    Ok((left > 0).then_some(Life { granted, left }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_lives_renews_in_time() {
        let life = |granted, left| Life { granted, left };
        for (granted, left, late) in [
            (86_400, 86_400, false),
            (86_400, 86_400 - 14 * 60, false),
            (86_400, 86_400 - 16 * 60, true),
            (20, 13, false),
            (20, 10, true),
        ] {
            assert_eq!(life(granted, left).is_late(), late, "{left} of {granted}");
        }
        assert_eq!(life(60, 45).age(), Duration::from_secs(15));
        assert_eq!(life(60, 61).age(), Duration::ZERO);
    }
}
