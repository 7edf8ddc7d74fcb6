//! The reference of `docs/configuration.md`: a table for each schema, a row for each key. What
//! stands around it is written by hand.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cluster_network, network, range_file};

/// The line above what is written here.
const BEGIN: &str = "<!-- From here on `make schema` writes. -->";
/// The line below it.
const END: &str = "<!-- To here. -->";

/// The document with its reference as the schemas have it; `None` if it lacks the two lines that
/// say where it goes.
pub fn refreshed(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let range_file = table("The range file", &range_file());
    let network = table("The network configuration", &network());
    let cluster = table("The network of a cluster", &cluster_network());
    Some(format!("{before}{BEGIN}\n\n{range_file}\n{network}\n{cluster}\n{END}{after}"))
}

fn table(title: &str, schema: &Value) -> String {
    let others = match schema["additionalProperties"] {
        Value::Bool(false) => "Any other key is an error.",
        _ => "Other keys are passed over.",
    };
    let mut text = format!(
        "### {title}\n\n{} {others}\n\n| key | type | default | meaning | example |\n\
         |---|---|---|---|---|\n",
        prose(schema)
    );
    for row in rows(schema) {
        let default = if row.required { "required".to_owned() } else { code(row.get("default")) };
        let (path, kind, example) = (&row.path, row.kind(), code(row.get("examples/0")));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| `{path}` | {kind} | {default} | {} | {example} |",
            prose(row.schema).replace('|', "\\|")
        );
    }
    text
}

/// What a schema says of one key.
struct Row<'a> {
    /// The key with those it is in, as `nodes[].name`.
    path: String,
    required: bool,
    schema: &'a Value,
    shape: Shape<'a>,
}

impl Row<'_> {
    fn get(&self, keyword: &str) -> Option<&Value> {
        self.schema.pointer(&format!("/{keyword}"))
    }

    /// The type with its bounds.
    fn kind(&self) -> String {
        let kind = self.shape.words.join(" or ");
        let between = |low, high| match (self.get(low), self.get(high)) {
            (Some(low), Some(high)) if low == high => format!(", {low}"),
            (Some(low), Some(high)) => format!(", {low} to {high}"),
            (Some(low), None) => format!(", at least {low}"),
            (None, Some(high)) => format!(", at most {high}"),
            (None, None) => String::new(),
        };
        let length = between("minLength", "maxLength");
        let unit = if length.is_empty() { "" } else { " characters" };
        let bounds = between("minimum", "maximum") + &between("minItems", "maxItems");
        let choice = self.get("enum").and_then(Value::as_array).into_iter().flatten();
        let choice: Vec<String> =
            choice.filter(|value| !value.is_null()).map(|value| code(Some(value))).collect();
        let colon = if choice.is_empty() { "" } else { ": " };
        format!("{kind}{colon}{}{bounds}{length}{unit}", choice.join(", "))
    }
}

/// Every key of a schema; those in an object follow it.
fn rows(root: &Value) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    collect(root, root, "", &mut rows);
    rows
}

/// Required keys come first, in the order in which the schema names them.
fn collect<'a>(root: &'a Value, object: &'a Value, before: &str, rows: &mut Vec<Row<'a>>) {
    let Some(properties) = object["properties"].as_object() else { return };
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let place = |key: &str| required.iter().position(|other| *other == key);
    let mut keys: Vec<(&String, &Value)> = properties.iter().collect();
    keys.sort_by_key(|(key, _)| place(key).unwrap_or(usize::MAX));
    for (key, schema) in keys {
        let path = format!("{before}{key}");
        let shape = shape(root, schema);
        let objects = shape.objects.clone();
        rows.push(Row { path: path.clone(), required: place(key).is_some(), schema, shape });
        for (suffix, object) in objects {
            collect(root, object, &format!("{path}{suffix}."), rows);
        }
    }
}

/// What a value may be.
#[derive(Default)]
struct Shape<'a> {
    /// The names of its types.
    words: Vec<String>,
    /// The objects that it may be or hold, each with what leads to it.
    objects: Vec<(String, &'a Value)>,
}

fn shape<'a>(root: &'a Value, schema: &'a Value) -> Shape<'a> {
    if let Some(name) = schema["$ref"].as_str() {
        return root
            .pointer(name.trim_start_matches('#'))
            .map_or_else(Shape::default, |target| shape(root, target));
    }
    if let Some(variants) = schema["anyOf"].as_array() {
        let mut either = Shape::default();
        for variant in variants.iter().map(|variant| shape(root, variant)) {
            either.words.extend(variant.words);
            either.objects.extend(variant.objects);
        }
        return either;
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    let mut found = Shape::default();
    for name in types.into_iter().filter(|name| *name != "null") {
        found.words.push(match name {
            "array" => {
                let items = shape(root, &schema["items"]);
                found.objects.extend(
                    items.objects.into_iter().map(|(rest, object)| (format!("[]{rest}"), object)),
                );
                format!("list of {}", plural(&items.words).join(" or "))
            }
            name => name.to_owned(),
        });
    }
    if found.words.is_empty() && schema["type"].is_null() {
        found.words.push("any".to_owned());
    }
    if schema["properties"].is_object() {
        found.objects.push((String::new(), schema));
    }
    found
}

fn plural(words: &[String]) -> Vec<String> {
    words
        .iter()
        .map(|word| match word.strip_prefix("list") {
            Some(rest) => format!("lists{rest}"),
            None => format!("{word}s"),
        })
        .collect()
}

/// The description, on one line.
fn prose(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn code(value: Option<&Value>) -> String {
    value.map_or_else(String::new, |value| format!("`{value}`"))
}

#[cfg(test)]
mod tests;
