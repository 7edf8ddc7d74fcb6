//! The keys that a document may have, and those that differ from them in case only.

use serde_json::{Map, Value};

/// The keys of an object, each with those of the object (or of each object of the list) that is
/// its value.
pub(crate) struct Keys(pub(crate) &'static [(&'static str, Keys)]);

/// No keys: the value's own are left as they are.
pub(crate) const LEAF: Keys = Keys(&[]);

/// Renames keys that differ from known ones only in case: runtimes written in Go, whose JSON
/// reader does not care, send `RuntimeConfig` and `IPMasq`. The exact spelling wins.
pub(crate) fn fold_case(value: &mut Value, keys: &Keys) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| fold_case(item, keys)),
        Value::Object(object) => {
            for (key, inner) in keys.0 {
                adopt(object, key);
                if let Some(value) = object.get_mut(*key) {
                    fold_case(value, inner);
                }
            }
        }
        _ => {}
    }
}

fn adopt(object: &mut Map<String, Value>, key: &str) {
    if object.contains_key(key) {
        return;
    }
    let variant = object.keys().find(|variant| variant.eq_ignore_ascii_case(key)).cloned();
    if let Some(value) = variant.and_then(|variant| object.remove(&variant)) {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn case_is_folded_where_keys_are_known() {
        const KEYS: Keys =
            Keys(&[("ipMasq", LEAF), ("routes", Keys(&[("dst", LEAF)])), ("args", LEAF)]);
        let mut value = json!({
            "IPMasq": true, "ROUTES": [{"Dst": "a"}, 7, {"dst": "b", "DST": "c"}],
            "args": 1, "Args": 2, "Other": {"Dst": 3}
        });
        fold_case(&mut value, &KEYS);
        let expected = json!({
            "ipMasq": true, "routes": [{"dst": "a"}, 7, {"dst": "b", "DST": "c"}],
            "args": 1, "Args": 2, "Other": {"Dst": 3}
        });
        assert_eq!(value, expected);
    }
}
