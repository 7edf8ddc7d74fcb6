//! What anyone who may write below the prefix of a network in etcd may write there: whatever it is, what an agent makes of
//! all keys is a range file that every node takes, and what is left out is told in one line.

use std::path::Path;

use flatnet_agent::etcd::outcome;
use flatnet_conf::{ClusterNetwork, RangeFile};

use crate::reply::assert_text;

const NETWORK: &[u8] = br#"{"name":"pods","clusterCIDRs":["10.1.0.0/16","fd00:1::/64"]}"#;
const PREFIX: &[u8] = b"/flatnet/pods/";
/// More than any line that tells of a key: names and values in it are cut, and each byte escaped at worst.
const LONGEST_LINE: usize = 8192;

/// Lines of a key, without the prefix, and its value, with a blank between.
pub fn etcd(data: &[u8]) {
    let network = ClusterNetwork::parse(Path::new("network.json"), NETWORK).expect("a network");
    let keys: Vec<(Vec<u8>, &[u8])> = data.split(|byte| *byte == b'\n').map(key).collect();
    let told = outcome(&network, keys.iter().map(|(key, value)| (key.as_slice(), *value)));
    for line in &told.left_out {
        assert_text(line);
        assert!(line.len() <= LONGEST_LINE, "{} bytes: {line:.200}", line.len());
    }
    if let Some(file) = told.range_file {
        let origin = Path::new("pods.json");
        file.check(origin).unwrap_or_else(|error| panic!("it breaks a rule: {error}"));
        let read = RangeFile::parse(origin, file.to_json().as_bytes());
        assert_eq!(read.map_err(|error| error.to_string()), Ok(file));
    }
}

fn key(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (key, value) = line.split_at(end);
    ([PREFIX, key].concat(), value.get(1..).unwrap_or_default())
}
