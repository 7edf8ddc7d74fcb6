//! What Docker sends with a call.

use serde::de::DeserializeOwned;

/// The document of a call.
///
/// # Errors
/// It is not what Docker sends.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("the call is not what Docker sends: {e}"))
}
