//! The custom resource definitions that are shipped are those of the types that the agent writes.

use std::fs;
use std::path::Path;

use flatnet_agent::kubernetes::objects::{FlatnetBlock, FlatnetNode};
use kube::CustomResourceExt as _;
use serde::Deserialize as _;
use serde_json::Value;

/// Without what the derive adds to every definition and means nothing: names for nobody, and lists of none.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, value)| {
                let empty = value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(|o| o.is_empty());
                !empty && key != "title"
            });
            Value::Object(kept.map(|(key, value)| (key, plain(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(plain).collect()),
        other => other,
    }
}

#[test]
fn the_shipped_definitions_are_those_of_the_types() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging/kubernetes/base/crds.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let shipped: Vec<_> =
        documents.map(|document| plain(Value::deserialize(document).unwrap())).collect();
    let ours = [FlatnetNode::crd(), FlatnetBlock::crd()];
    let ours = ours.map(|crd| plain(serde_json::to_value(crd).unwrap()));
    for (shipped, ours) in shipped.iter().zip(&ours) {
        let shown = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        assert_eq!(
            shown(shipped),
            shown(ours),
            "`cargo run -p flatnet-agent --example crds` prints ours"
        );
    }
    assert_eq!(shipped.len(), ours.len());
}
