//! What is wrong is told when it begins and when it ends, not as long as it lasts.

use std::collections::BTreeSet;

/// Of a burst no more than so many are told one by one.
const SINGLY: usize = 20;

/// What has been told.
#[derive(Debug, Default)]
pub struct Told(BTreeSet<String>);

impl Told {
    /// This is wrong now: logs what is new, and what is over. Returns which are new, a sentence each.
    pub fn update(&mut self, now: BTreeSet<String>) -> Vec<String> {
        let new: Vec<_> = now.difference(&self.0).cloned().collect();
        let over: Vec<_> = self.0.difference(&now).cloned().collect();
        new.iter().take(SINGLY).for_each(|words| log::warn!("{words}"));
        over.iter().take(SINGLY).for_each(|words| log::info!("no more: {words}"));
        let more = new.len().saturating_sub(SINGLY) + over.len().saturating_sub(SINGLY);
        if more > 0 {
            log::warn!("and {more} more of the kind");
        }
        self.0 = now;
        new.into_iter().take(SINGLY).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once() {
        let set = |words: &[&str]| words.iter().map(|words| (*words).to_owned()).collect();
        let mut told = Told::default();
        assert_eq!(told.update(set(&["a", "b"])), ["a", "b"]);
        assert_eq!(told.update(set(&["a", "b"])), [""; 0]);
        assert_eq!(told.update(set(&["b", "c"])), ["c"]);
        assert_eq!(told.update(set(&["a"])), ["a"], "it came again");
        let many = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(told.update(many).len(), SINGLY);
    }
}
