//! Objects in the order of their creation, in which they are judged.

use std::ops::Deref;
use std::sync::Arc;

/// When an object was made, as far as its engine tells: of two that contradict each other the older one is
/// right, on every node the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Born {
    /// Kubernetes: `creationTimestamp` in seconds. etcd: the revision that made a block's key, or that last wrote a
    /// node's. So a node's entry is as old as the address that it says; in Kubernetes one that has said another is younger
    /// than all.
    pub at: i64,
    /// What tells apart those of one moment: the object's name.
    pub name: String,
}

/// What was made at a moment.
pub trait Made {
    /// When.
    fn born(&self) -> &Born;
}

/// All objects of a kind, the oldest first. A copy costs nothing, as long as neither of the two is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged<T>(Arc<Vec<Arc<T>>>);

impl<T> Default for Aged<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for Aged<T> {
    type Target = [Arc<T>];

    fn deref(&self) -> &[Arc<T>] {
        &self.0
    }
}

impl<T: Made> Aged<T> {
    /// An object as it is now: in the place of that which was made with it, which is the same.
    pub fn put(&mut self, object: Arc<T>) {
        let place = self.place(object.born());
        let all = Arc::make_mut(&mut self.0);
        match place {
            Ok(place) => all[place] = object,
            Err(place) => all.insert(place, object),
        }
    }

    /// That which was made then is no more.
    pub fn remove(&mut self, born: &Born) {
        if let Ok(place) = self.place(born) {
            Arc::make_mut(&mut self.0).remove(place);
        }
    }

    /// Those for which something does not hold are no more.
    pub fn retain(&mut self, holds: impl Fn(&T) -> bool) {
        Arc::make_mut(&mut self.0).retain(|object| holds(object));
    }

    fn place(&self, born: &Born) -> Result<usize, usize> {
        self.0.binary_search_by(|other| other.born().cmp(born))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Thing(Born, u8);

    impl Made for Thing {
        fn born(&self) -> &Born {
            &self.0
        }
    }

    #[test]
    fn the_oldest_comes_first_whatever_came_first() {
        let born = |at, name: &str| Born { at, name: name.to_owned() };
        let mut aged = Aged::default();
        for (at, name) in [(7, "b"), (3, "z"), (7, "a"), (9, "0")] {
            aged.put(Arc::new(Thing(born(at, name), 0)));
        }
        let copy = aged.clone();
        aged.put(Arc::new(Thing(born(7, "b"), 1)));
        aged.remove(&born(3, "z"));
        aged.remove(&born(3, "y"));
        let shown = |aged: &Aged<Thing>| -> Vec<(i64, String, u8)> {
            aged.iter().map(|thing| (thing.0.at, thing.0.name.clone(), thing.1)).collect()
        };
        let of = |things: &[(i64, &str, u8)]| -> Vec<(i64, String, u8)> {
            things.iter().map(|(at, name, what)| (*at, (*name).to_owned(), *what)).collect()
        };
        assert_eq!(shown(&aged), of(&[(7, "a", 0), (7, "b", 1), (9, "0", 0)]));
        assert_eq!(shown(&copy), of(&[(3, "z", 0), (7, "a", 0), (7, "b", 0), (9, "0", 0)]));
        aged.retain(|thing| thing.1 == 1);
        assert_eq!(aged.len(), 1);
    }
}
