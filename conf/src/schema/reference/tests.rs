use std::path::Path;

use serde_json::json;

use super::*;
use crate::{CniArgs, Command, Invocation, NetworkConf, RangeFile};

/// What only a runtime makes.
const WITHOUT_EXAMPLE: [&str; 1] = ["prevResult"];

#[test]
fn the_document_is_current() {
    let document = include_str!("../../../../docs/configuration.md");
    assert!(
        refreshed(document).as_deref() == Some(document),
        "docs/configuration.md is not what the schemas say: run `make schema`"
    );
}

#[test]
fn what_stands_around_the_reference_stays() {
    let fresh = refreshed(&format!("by hand\n{BEGIN}\nold\n{END}\nby hand too\n")).unwrap();
    assert!(fresh.starts_with(&format!("by hand\n{BEGIN}\n\n### The range file\n")), "{fresh}");
    assert!(fresh.ends_with(&format!("|\n\n{END}\nby hand too\n")), "{fresh}");
    assert!(!fresh.contains("old\n"), "{fresh}");
    assert_eq!(refreshed(&fresh), Some(fresh));
    assert_eq!(refreshed(BEGIN), None);
}

#[test]
fn a_row_says_all_that_a_schema_does() {
    let schema = json!({
        "description": "All\nof it.",
        "additionalProperties": false,
        "required": ["z", "b"],
        "properties": {
            "d": { "description": "Whatever." },
            "a": { "type": ["integer", "null"], "minimum": 1, "maximum": 9, "default": 4,
                   "description": "a | b", "examples": [7] },
            "b": { "$ref": "#/$defs/B" },
            "c": { "type": "string", "enum": ["x", null], "description": "One." },
            "z": { "type": "array", "minItems": 1, "items": { "anyOf": [
                { "type": "string" }, { "$ref": "#/$defs/B" }, { "type": "null" } ] } },
        },
        "$defs": { "B": { "type": "object", "properties": {
            "deep": { "type": "array", "items": { "type": "array", "items": {
                "type": "string" } }, "default": [] },
            "name": { "type": "string", "minLength": 1, "maxLength": 3 } } } },
    });
    let expected = "\
### It

All of it. Any other key is an error.

| key | type | default | meaning | example |
|---|---|---|---|---|
| `z` | list of strings or objects, at least 1 | required |  |  |
| `z[].deep` | list of lists of strings | `[]` |  |  |
| `z[].name` | string, 1 to 3 characters |  |  |  |
| `b` | object | required |  |  |
| `b.deep` | list of lists of strings | `[]` |  |  |
| `b.name` | string, 1 to 3 characters |  |  |  |
| `a` | integer, 1 to 9 | `4` | a \\| b | `7` |
| `c` | string: `\"x\"` |  | One. |  |
| `d` | any |  | Whatever. |  |
";
    assert_eq!(table("It", &schema), expected);
}

/// A document of the examples of all keys that hold no others.
fn of_examples(root: &Value) -> Value {
    let mut document = json!({});
    for row in rows(root).iter().filter(|row| row.shape.objects.is_empty()) {
        let Some(example) = row.get("examples/0") else {
            assert!(WITHOUT_EXAMPLE.contains(&row.path.as_str()), "{} has no example", row.path);
            continue;
        };
        insert(&mut document, &row.path, example);
    }
    document
}

/// Puts a value where a path of the table says, into the first of each list, and makes what
/// leads there.
fn insert(place: &mut Value, path: &str, value: &Value) {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut inner = &mut place[first.trim_end_matches("[]")];
    for _ in 0..first.matches("[]").count() {
        if !inner.is_array() {
            *inner = json!([null]);
        }
        inner = &mut inner[0];
    }
    match rest {
        "" => *inner = value.clone(),
        rest => insert(inner, rest, value),
    }
}

fn remove(document: &mut Value, path: &str) {
    let pointer = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
    let (object, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(key).unwrap();
}

fn parse_range_file(document: &Value) -> RangeFile {
    let parsed = RangeFile::parse(Path::new("pods.json"), document.to_string().as_bytes());
    parsed.unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn parse_network(document: &Value) -> NetworkConf {
    let invocation = Invocation {
        command: Command::Add,
        container_id: "c1".to_owned(),
        netns: None,
        ifname: "eth0".to_owned(),
        path: Vec::new(),
        args: CniArgs::default(),
        netns_override: false,
    };
    let parsed = NetworkConf::parse(document.to_string().as_bytes(), &invocation);
    parsed.unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// That each example is taken, and that each default is what its absence means.
fn holds<T: PartialEq + std::fmt::Debug>(root: &Value, parse: fn(&Value) -> T) {
    let all = of_examples(root);
    parse(&all);
    for row in rows(root) {
        assert!(!prose(row.schema).is_empty(), "{} has no description", row.path);
        let mut document = all.clone();
        if let Some(example) = row.get("examples/0") {
            insert(&mut document, &row.path, example);
            parse(&document);
        }
        if let Some(default) = row.get("default") {
            insert(&mut document, &row.path, default);
            let written = parse(&document);
            remove(&mut document, &row.path);
            assert_eq!(written, parse(&document), "{}", row.path);
        }
    }
}

#[test]
fn examples_and_defaults_are_what_is_read() {
    holds(&range_file(), parse_range_file);
    holds(&network(), parse_network);
}
