//! From bytes to values: where a text stops being JSON, which field has the wrong type, and keys
//! whose case is not the one written here.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::error::Broken;
use crate::{Error, encoding, near};

/// Reads a document called `origin`. The fields on the way to an error are only looked for once
/// there is one: tracking them would double the time that a large range file takes.
pub(crate) fn from_bytes<'de, T: Deserialize<'de>>(
    origin: &str,
    bytes: &'de [u8],
) -> Result<T, Error> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if !error.is_data() {
        let reason = encoding::problem(bytes).map_or_else(|| error.to_string(), str::to_owned);
        return Err(Error::Decode { origin: origin.to_owned(), reason });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let broken = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => tracked(&error),
        Ok(_) => Broken::new(error.to_string()),
    };
    Err(broken.in_document(origin))
}

/// Reads a part of a document that is already JSON.
pub(crate) fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Broken> {
    object_from_value(value).map_err(|(_, broken)| broken)
}

/// The same, and says which key of the object the error is under.
pub(crate) fn object_from_value<T: DeserializeOwned>(
    value: &Value,
) -> Result<T, (Option<String>, Broken)> {
    serde_path_to_error::deserialize(value).map(|object: Object<T>| object.0).map_err(|error| {
        let key = match error.path().iter().next() {
            Some(Segment::Map { key }) => Some(key.clone()),
            _ => None,
        };
        (key, tracked(&error))
    })
}

fn tracked(error: &serde_path_to_error::Error<serde_json::Error>) -> Broken {
    // The types of this program mean nothing to the document's author.
    let reason = error.inner().to_string();
    let number = ["u8", "u32", "u64", "usize"]
        .iter()
        .find_map(|name| reason.split_once(&format!("expected {name}")));
    let problem = Broken::new(match (number, meant(&reason)) {
        (Some((before, after)), _) => format!("{before}expected a whole number{after}"),
        (None, Some(meant)) => format!("{reason}; did you mean {meant}?"),
        (None, None) => reason,
    });
    match error.path().to_string().as_str() {
        // What serde_path_to_error calls the document itself.
        "." => problem,
        path => problem.under(path),
    }
}

/// Which of the fields that serde expected is nearly the unknown one.
fn meant(reason: &str) -> Option<&str> {
    let (unknown, expected) = reason.strip_prefix("unknown field `")?.split_once("`, expected ")?;
    near::nearest(unknown, expected.split('`').skip(1).step_by(2))
}

/// An object, and nothing but: what serde derives would also take a list of the fields' values.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}
