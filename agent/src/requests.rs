//! What an engine was asked, and how much it said, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::source::Traffic;

/// Requests that were answered, and the bytes of the answers. There is a number for each verb and code, so
/// they are few.
#[derive(Debug, Default)]
pub struct Requests {
    answered: Mutex<BTreeMap<(&'static str, u16), u64>>,
    received: AtomicU64,
}

impl Requests {
    /// How many requests of each verb got each code; 0 is the code where there was no answer.
    pub fn answered(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of all answers, without their headers.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Both.
    pub fn traffic(&self) -> Traffic {
        Traffic { answered: self.answered(), received_bytes: self.received_bytes() }
    }

    pub(crate) fn answer(&self, verb: &'static str, code: u16) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered.entry((verb, code)).or_default() += 1;
    }

    pub(crate) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_and_code_has_its_number() {
        let requests = Requests::default();
        for (verb, code) in [("get", 200), ("get", 404), ("get", 200), ("watch", 0)] {
            requests.answer(verb, code);
        }
        requests.receive(7);
        requests.receive(3);
        let answered = [(("get", 200), 2), (("get", 404), 1), (("watch", 0), 1)];
        let answered = BTreeMap::from(answered);
        assert_eq!(requests.traffic(), Traffic { answered, received_bytes: 10 });
    }
}
