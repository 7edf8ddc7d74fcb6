//! What runtimes without capabilities ask for, as written.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

/// Arguments by the conventions of the CNI project.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct Args {
    /// Arguments for every plugin.
    pub(crate) cni: Option<CniArgs>,
}

/// Arguments for every plugin.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub(crate) struct CniArgs {
    /// Addresses asked for, with or without prefix length.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = [["10.244.1.78"]])))]
    pub(crate) ips: Option<Vec<String>>,
    /// MAC address asked for.
    #[cfg_attr(feature = "schema", schemars(example = "02:00:00:00:00:08"))]
    pub(crate) mac: Option<String>,
}
