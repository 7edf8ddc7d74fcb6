//! What comes on standard input, before its keys mean anything: JSON of a version that allows the
//! command, and the types of its values.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Broken;
use crate::keys::{self, Keys};
use crate::{Command, Error, Version, json};

const ORIGIN: &str = "network configuration";

pub(crate) fn invalid(broken: Broken) -> Error {
    broken.in_document(ORIGIN)
}

/// The JSON object on standard input, its known keys in their exact spelling, and its version,
/// which allows the command.
pub(crate) fn open(stdin: &[u8], command: Command, keys: &Keys) -> Result<(Value, Version), Error> {
    let object: json::Object<_> = json::from_bytes(ORIGIN, stdin)?;
    let mut value = Value::Object(object.0);
    keys::fold_case(&mut value, keys);
    let version = version(value.get("cniVersion"))?;
    allows(version, command)?;
    Ok((value, version))
}

/// Absent or empty is the oldest.
pub(crate) fn version(value: Option<&Value>) -> Result<Version, Error> {
    match value {
        None | Some(Value::Null) => Ok(Version::V0_1_0),
        Some(Value::String(text)) if text.is_empty() => Ok(Version::V0_1_0),
        Some(Value::String(text)) => Version::parse(text),
        Some(other) => {
            Err(invalid(Broken::new(format!("{other} is not a string")).under("cniVersion")))
        }
    }
}

/// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
fn allows(version: Version, command: Command) -> Result<(), Error> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => Version::V0_1_0,
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
    };
    if version < since {
        // The reference library's words, which callers look for.
        let command = command.as_str();
        return Err(Error::Version(format!("config version does not allow {command}")));
    }
    Ok(())
}

/// Reads the types. A lenient reader drops what has the wrong one, key by key.
pub(crate) fn read<T: DeserializeOwned>(mut value: Value, lenient: bool) -> Result<T, Broken> {
    loop {
        let (key, broken) = match json::object_from_value(&value) {
            Ok(raw) => return Ok(raw),
            Err(error) => error,
        };
        let droppable = key.filter(|key| lenient && key != "name");
        let object = value.as_object_mut();
        let dropped = droppable.zip(object).and_then(|(key, object)| object.remove(&key));
        if dropped.is_none() {
            return Err(broken);
        }
    }
}
