//! The JSON Schemas of the range file, the network configuration and the network of a cluster, made from the types that
//! read them, so that an editor says what the plugin would. They hold what a schema can: types,
//! keys and bounds; what relates one field to another only `flatnet ranges check` knows.

mod reference;

pub use reference::refreshed;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::raw;

/// The schema of the range file.
pub fn range_file() -> Value {
    of::<raw::RangeFile<'_>>()
}

/// The schema of the network configuration.
pub fn network() -> Value {
    of::<raw::Network>()
}

/// The schema of the network of a cluster.
pub fn cluster_network() -> Value {
    of::<raw::ClusterNetwork>()
}

fn of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().into()
}

/// A schema as it is published.
pub fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_files_are_current() {
        let remedy = "run `make schema`";
        let range_file = include_str!("../schema/range-file.schema.json");
        assert_eq!(text(&super::range_file()), range_file, "{remedy}");
        let network = include_str!("../schema/network.schema.json");
        assert_eq!(text(&super::network()), network, "{remedy}");
        let cluster = include_str!("../schema/cluster-network.schema.json");
        assert_eq!(text(&super::cluster_network()), cluster, "{remedy}");
    }
}
