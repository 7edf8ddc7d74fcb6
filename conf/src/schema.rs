//! The JSON Schemas of the range file and of the network configuration, made from the types that
//! read them, so that an editor says what the plugin would. They hold what a schema can: types,
//! keys and bounds; what relates one field to another only `flatnet ranges check` knows.

use schemars::{JsonSchema, SchemaGenerator};

use crate::raw;

/// The schema of the range file, as text.
pub fn range_file() -> String {
    text::<raw::RangeFile>()
}

/// The schema of the network configuration, as text.
pub fn network() -> String {
    text::<raw::Network>()
}

fn text<T: JsonSchema>() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    #[test]
    fn checked_in_files_are_current() {
        let remedy = "run `make schema`";
        assert_eq!(
            super::range_file(),
            include_str!("../schema/range-file.schema.json"),
            "{remedy}"
        );
        assert_eq!(super::network(), include_str!("../schema/network.schema.json"), "{remedy}");
    }
}
