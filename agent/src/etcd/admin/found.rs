//! A node that there is already, wherever it is known from.

use std::net::IpAddr;

use flatnet_conf::Range;

/// What is to become keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub vtep: IpAddr,
    /// Its ranges, the oldest first.
    pub ranges: Vec<Range>,
}
