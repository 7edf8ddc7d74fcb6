//! What keeps a source from its engine.

use std::collections::{BTreeSet, HashMap};

/// For each part that has something to say, what it is.
#[derive(Debug, Default)]
pub struct Troubles(HashMap<&'static str, String>);

impl Troubles {
    /// All of it. Those that have the same to say say it once.
    pub fn text(&self) -> Option<String> {
        let said: BTreeSet<&str> = self.0.values().map(String::as_str).collect();
        (!said.is_empty()).then(|| said.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// A part has trouble, or none any more. Says whether it is news.
    pub fn set(&mut self, of: &'static str, trouble: Option<String>) -> bool {
        let before = self.text();
        match trouble {
            Some(trouble) => self.0.insert(of, trouble),
            None => self.0.remove(of),
        };
        before != self.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_say_is_said_once() {
        let mut troubles = Troubles::default();
        assert!(troubles.set("nodes", Some("refused".to_owned())));
        assert!(!troubles.set("blocks", Some("refused".to_owned())));
        assert!(troubles.set("blocks", Some("denied".to_owned())));
        assert_eq!(troubles.text().as_deref(), Some("denied; refused"));
        assert!(troubles.set("blocks", None) && troubles.set("nodes", None));
        assert_eq!(troubles.text(), None);
    }
}
