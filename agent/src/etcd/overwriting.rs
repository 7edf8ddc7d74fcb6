//! How often a node writes its own key again that another writes over: the first time at once, and then ever later, as
//! there may be a second node of its name.

use std::time::Duration;

use tokio::time::Instant;

use crate::patience::Patience;

/// A key that was left alone for so long is written at once again. It is longer than any pause between two writes.
const ALONE: Duration = Duration::from_secs(5 * 60);

/// What was written so far.
#[derive(Debug, Default)]
pub struct Overwriting {
    last: Option<Instant>,
    patience: Patience,
}

impl Overwriting {
    /// Whether the key may be written now.
    pub fn may(&mut self) -> bool {
        if self.last.is_none_or(|last| last.elapsed() >= ALONE) {
            self.patience.came_out(true);
        }
        self.patience.until().is_none()
    }

    /// It was written.
    pub fn done(&mut self) {
        self.last = Some(Instant::now());
        self.patience.came_out(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a key is written in a time in which another always writes over it.
    async fn writes(own: &mut Overwriting, during: Duration) -> u32 {
        let end = Instant::now() + during;
        let mut count = 0;
        while Instant::now() < end {
            if own.may() {
                own.done();
                count += 1;
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_at_once_and_the_others_ever_later() {
        let mut own = Overwriting::default();
        for _ in 0..2 {
            assert!(own.may());
            own.done();
            assert!(!own.may());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(writes(&mut own, Duration::from_millis(50)).await, 1, "the second");
            let more = writes(&mut own, Duration::from_secs(600)).await;
            assert!((10..30).contains(&more), "{more} in ten minutes");
            tokio::time::advance(ALONE).await;
        }
    }
}
