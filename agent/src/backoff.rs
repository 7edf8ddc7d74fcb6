//! How long to wait before something that failed is tried again: ever longer, and not on all nodes at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long after so many failures before the last: twice as long each time, to an end. `random` is between 0
/// and 1, and chooses between half of it and all of it.
pub fn delay(first: Duration, longest: Duration, failures: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(16));
    doubled.min(longest).mul_f64(0.5 + random / 2.0)
}

/// Between 0 and 1. Each hasher begins elsewhere.
pub fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_numbers_between_0_and_1_that_differ() {
        let some: Vec<_> = (0..100).map(|_| random()).collect();
        assert!(some.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(some.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
