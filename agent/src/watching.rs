//! A watch that never ends: where one breaks off another begins, at once or after a while.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::random;
use crate::turns::{End, Turns, delay};

/// What is watched, in its two steps.
pub trait Watched: Send + 'static {
    /// A watch that has begun.
    type Watch: Send;
    /// Why one did not begin, or ended.
    type Failure: Display + Send;

    /// What it is, for messages.
    fn name(&self) -> &str;

    /// A watch has begun, or has not.
    fn begun(&self, failure: Option<&Self::Failure>);

    /// Whether the server answered, and said no.
    fn is_refusal(failure: &Self::Failure) -> bool;

    /// Asks for what is to be known before, and begins a watch.
    fn begin(&mut self) -> impl Future<Output = Result<Self::Watch, Self::Failure>> + Send;

    /// Follows a watch to its end; good is one that the server was asked for.
    fn follow(
        &mut self,
        watch: Self::Watch,
    ) -> impl Future<Output = Result<(), Self::Failure>> + Send;
}

/// A server that is replaced by another ends the watches of all nodes in one moment.
const SETTLE: Duration = Duration::from_millis(200);
/// A watch that ended sooner than this was none: a server that accepts each and closes it is one that fails.
const SHORT: Duration = Duration::from_secs(1);

/// Watches for ever.
pub async fn forever<W: Watched>(mut watched: W, turns: Arc<Turns>) {
    let mut failing = false;
    let mut short = 0;
    loop {
        let turn = if failing { Some(turns.turn().await) } else { None };
        let begun = watched.begin().await;
        let failure = begun.as_ref().err();
        failing = failure.is_some();
        watched.begun(failure);
        if let Some(turn) = turn {
            turn.ends(match failure {
                None => End::Good,
                Some(failure) if W::is_refusal(failure) => End::Refused,
                Some(_) => End::Unreachable,
            });
        }
        let Ok(watch) = begun else { continue };
        let since = Instant::now();
        if let Err(failure) = watched.follow(watch).await {
            log::debug!("watching {}: {failure}", watched.name());
        }
        short = if since.elapsed() < SHORT { short + 1 } else { 0 };
        let pause = if short > 1 { delay(short - 1, random()) } else { SETTLE.mul_f64(random()) };
        tokio::time::sleep(pause).await;
    }
}
