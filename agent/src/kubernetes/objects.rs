//! The objects of a cluster as they are written. The custom resource definitions are made from these types:
//! `cargo run -p flatnet-agent --example crds`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Where a node is.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "flatnet.dev",
    version = "v1alpha1",
    kind = "FlatnetNode",
    doc = "A node of flatnet's overlay. Its agent writes it, under the node's name.",
    printcolumn = r#"{"name": "VTEP", "type": "string", "jsonPath": ".spec.vtep"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct FlatnetNodeSpec {
    /// The node's address on the underlay.
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-f.:]+$"))]
    pub vtep: String,
}

/// Which node holds a range. Whoever makes the object has the range, for a name exists once.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "flatnet.dev",
    version = "v1alpha1",
    kind = "FlatnetBlock",
    doc = "A range of pod addresses, and the node that holds it. Its name is the range's: 10-244-7-0-24.",
    printcolumn = r#"{"name": "Range", "type": "string", "jsonPath": ".spec.range"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".spec.node"}"#,
    printcolumn = r#"{"name": "Retiring", "type": "boolean", "jsonPath": ".spec.retiring"}"#,
    printcolumn = r#"{"name": "Network", "type": "string", "jsonPath": ".metadata.labels.flatnet\\.dev/network", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    validation = Rule::new(
        "self.metadata.name == self.spec.range.replace('.', '-').replace(':', '-').replace('/', '-')"
    ).message("the name must be the range's, with a hyphen for each dot, colon and slash")
)]
pub struct FlatnetBlockSpec {
    /// The range, as a subnet.
    #[schemars(length(min = 4, max = 43), regex(pattern = r"^[0-9a-f.:]+/[0-9]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a block's range never changes"))]
    pub range: String,
    /// The node that holds it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a block never changes hands: it is made again"))]
    pub node: String,
    /// Whether it is held for the pods that live in it alone, and new ones are to have another.
    #[serde(default)]
    pub retiring: bool,
}
