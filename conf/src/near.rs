//! Keys that are nearly one of ours. A configuration may have keys that flatnet does not know: the
//! protocol adds its own, and so do runtimes. But a misspelt one is a setting that is not made, and
//! nothing else tells.

use std::fmt;

use serde_json::Value;
use strsim::osa_distance;

use crate::keys::Keys;

/// Keys of the protocol that are none of ours and must not be taken for a misspelt one.
const OTHERS: [&str; 6] =
    ["capabilities", "cniVersions", "disableCheck", "disableGC", "ipMasqBackend", "mode"];

/// A key of a document, and the one that was probably meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NearMiss {
    /// The objects around it: `plugins[0].ipam`; empty for the document itself.
    pub(crate) path: String,
    /// As it is written.
    pub(crate) key: String,
    /// As it was probably meant.
    pub(crate) meant: &'static str,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, key, meant } = self;
        let dot = if path.is_empty() { "" } else { "." };
        write!(formatter, "{path}{dot}{key} is unknown; did you mean {meant}?")
    }
}

/// The keys of an object, and of the objects in it, that are not known, while one that is nearly the
/// same is known and absent.
pub(crate) fn misses(path: &str, value: &Value, keys: &Keys) -> Vec<NearMiss> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| misses(&format!("{path}[{index}]"), item, keys))
            .collect(),
        Value::Object(object) => {
            let absent =
                || keys.0.iter().map(|(key, _)| *key).filter(|key| !object.contains_key(*key));
            let known = |key: &str| keys.0.iter().any(|(known, _)| *known == key);
            let unknown =
                object.keys().filter(|key| !known(key) && !OTHERS.contains(&key.as_str()));
            let mut found: Vec<NearMiss> = unknown
                .filter_map(|key| {
                    let (path, meant) = (path.to_owned(), nearest(key, absent())?);
                    Some(NearMiss { path, key: key.clone(), meant })
                })
                .collect();
            for (key, inner) in keys.0 {
                if let Some(value) = object.get(*key).filter(|_| !inner.0.is_empty()) {
                    let path =
                        if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
                    found.extend(misses(&path, value, inner));
                }
            }
            found
        }
        _ => Vec::new(),
    }
}

/// Which of the keys is nearly this one: the same but for case and separators, or but for one letter
/// in five that is wrong, missing, too many or in its neighbour's place.
pub(crate) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The usual way to put a key out of use.
    if key.starts_with(['_', '#', '/', '$']) {
        return None;
    }
    let plain = plain(key);
    // Letters that are changed, added, left out or swapped with their neighbour.
    let distances = known.map(|known| (osa_distance(&plain, &self::plain(known)), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    let allowed = plain.chars().count().min(known.len()).div_ceil(5).min(2);
    (distance <= allowed && !plain.is_empty()).then_some(known)
}

/// Letters and digits, in lower case.
fn plain(key: &str) -> String {
    // Nothing as long as this is nearly one of ours.
    let letters = key.chars().take(64).filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::LEAF;

    const KEYS: Keys = Keys(&[
        ("rangeFile", LEAF),
        ("mtu", LEAF),
        ("node", LEAF),
        ("name", LEAF),
        ("ipMasq", LEAF),
        ("ipMasqNodes", LEAF),
        ("logLevel", LEAF),
        ("routes", Keys(&[("dst", LEAF)])),
        ("ipam", Keys(&[("type", LEAF)])),
    ]);

    #[test]
    fn what_was_probably_meant() {
        let known = || KEYS.0.iter().map(|(key, _)| *key);
        for (key, meant) in [
            ("range_file", "rangeFile"),
            ("rangeFiles", "rangeFile"),
            ("rnageFile", "rangeFile"),
            ("ragneFiel", "rangeFile"),
            ("MTU ", "mtu"),
            ("mtuu", "mtu"),
            ("ip-masq", "ipMasq"),
            ("ipMasqNode", "ipMasqNodes"),
            ("loglevl", "logLevel"),
        ] {
            assert_eq!(nearest(key, known()), Some(meant), "{key}");
        }
        for other in ["", "-", "bridge", "ranges", "dns", "isGateway", "_mtu", "//mtu", "file", "a"]
        {
            assert_eq!(nearest(other, known()), None, "{other}");
        }
    }

    #[test]
    fn keys_are_looked_at_where_they_are_known() {
        let value = json!({
            "name": "pods", "mtuu": 1, "node": "a", "nodes": "b", "mode": "l2", "capabilities": {},
            "routes": [{ "dst": "x" }, { "dest": "y" }], "ipam": { "types": "x" }, "x": { "mtuu": 1 }
        });
        let found: Vec<_> = misses("", &value, &KEYS)
            .into_iter()
            .map(|miss| format!("{}|{}|{}", miss.path, miss.key, miss.meant))
            .collect();
        assert_eq!(found, ["|mtuu|mtu", "routes[1]|dest|dst", "ipam|types|type"]);
    }
}
