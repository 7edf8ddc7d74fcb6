//! The documents on standard output that are no result: an error, and the list of versions.

use serde_json::{Value, json};

use crate::Version;

/// The error object (CNI specification, section "Error"); empty `details` are left out.
pub fn error_json(version: Version, code: u32, msg: &str, details: &str) -> Value {
    let mut error = json!({ "cniVersion": version.as_str(), "code": code, "msg": msg });
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    error
}

/// The answer to VERSION: `cniVersion` is the newest spoken.
pub fn versions_json() -> Value {
    let supported = Version::ALL.map(Version::as_str);
    json!({ "cniVersion": Version::V1_1_0.as_str(), "supportedVersions": supported })
}

/// The version to answer an error in, from standard input that may itself be what is wrong: the
/// configuration's where it is one of ours, else the newest.
pub fn reply_version(stdin: &[u8]) -> Version {
    let newest = Version::V1_1_0;
    match serde_json::from_slice::<Value>(stdin) {
        Ok(mut value @ Value::Object(_)) => {
            crate::keys::fold_case(&mut value, &crate::network::VERSION_KEY);
            crate::network::version(value.get("cniVersion")).unwrap_or(newest)
        }
        _ => newest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors() {
        assert_eq!(
            error_json(Version::V0_4_0, 7, "wrong", ""),
            json!({"cniVersion": "0.4.0", "code": 7, "msg": "wrong"})
        );
        assert_eq!(
            error_json(Version::V1_0_0, 5, "wrong", "more"),
            json!({"cniVersion": "1.0.0", "code": 5, "msg": "wrong", "details": "more"})
        );
    }

    #[test]
    fn versions() {
        assert_eq!(
            versions_json(),
            json!({
                "cniVersion": "1.1.0",
                "supportedVersions":
                    ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
            })
        );
    }

    #[test]
    fn version_of_an_error() {
        let cases = [
            ("", "1.1.0"),
            ("[]", "1.1.0"),
            ("{}", "0.1.0"),
            ("{\"cniVersion\": \"\"}", "0.1.0"),
            ("{\"CNIVersion\": \"0.4.0\"}", "0.4.0"),
            ("{\"cniVersion\": \"9.9.9\"}", "1.1.0"),
            ("{\"cniVersion\": 1}", "1.1.0"),
        ];
        for (stdin, expected) in cases {
            assert_eq!(reply_version(stdin.as_bytes()).as_str(), expected, "{stdin}");
        }
    }
}
