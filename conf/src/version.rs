//! The versions of the CNI protocol, because each has its own shape of result.

use crate::Error;

/// A version of the CNI specification that flatnet speaks, oldest first.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// 0.1.0, also what a configuration without `cniVersion` means.
    V0_1_0,
    /// 0.2.0: VERSION is added.
    V0_2_0,
    /// 0.3.0: results list interfaces and any number of addresses; chains.
    V0_3_0,
    /// 0.3.1: as 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK, and DEL gets a `prevResult`.
    V0_4_0,
    /// 1.0.0: addresses no longer carry a `version`.
    V1_0_0,
    /// 1.1.0: GC and STATUS; MTU and route attributes in results.
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// The version as written in `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Reads a `cniVersion`. An unknown one is an error with code 1 that lists those supported.
    pub fn parse(text: &str) -> Result<Version, Error> {
        Version::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            let supported: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
            Error::Version(format!(
                "cniVersion \"{}\" is not supported; supported are {}",
                text.escape_debug(),
                supported.join(", ")
            ))
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
