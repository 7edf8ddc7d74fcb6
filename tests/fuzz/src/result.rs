//! A result or prevResult of any version: what can be read can be written in every version, and
//! reads as the same again.

use flatnet_conf::{AddResult, Version};
use serde_json::Value;

use crate::reply::refusal;

/// The bytes as a result of each version.
pub fn result(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    for expected in Version::ALL {
        match AddResult::from_json(&value, expected) {
            Ok(result) => {
                accepted(&result);
                Version::ALL.into_iter().for_each(|version| converts(&result, version));
                let mut chain = result.clone();
                chain.append(result);
                accepted(&chain);
                converts(&chain, Version::V1_1_0);
            }
            Err(error) => refusal(error),
        }
    }
}

fn accepted(result: &AddResult) {
    for ip in &result.ips {
        assert!(ip.interface.is_none_or(|index| index < result.interfaces.len()), "{ip:?}");
    }
}

/// What a version has no room for is lost by the first writing, and nothing by the next.
fn converts(result: &AddResult, version: Version) {
    let written = result.to_json(version);
    assert_eq!(written["cniVersion"], version.as_str());
    // The version is its own, whatever the reader expects.
    let read = AddResult::from_json(&written, Version::V0_1_0).expect("what we wrote");
    accepted(&read);
    assert_eq!(read.to_json(version), written, "{version}");
    if version == Version::V1_1_0 {
        assert_eq!(read, *result, "the newest version has room for all");
    }
    let addresses = |result: &AddResult| result.ips.iter().map(|ip| ip.address).collect::<Vec<_>>();
    let (before, after) = (addresses(result), addresses(&read));
    assert!(
        after.iter().all(|address| before.contains(address)),
        "{version}: an address was made up"
    );
    assert_eq!(after.is_empty(), before.is_empty(), "{version}");
}
