//! A call of Docker's: each is answered by one document that Docker can read, and a refusal has words for people.

use std::path::Path;

use flatnet::endpoint::Endpoints;
use flatnet_docker::{Answer, answer};

use crate::reply::assert_text;

/// What Docker calls, of both kinds of drivers.
const CALLS: [&str; 19] = [
    "IpamDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.ReleaseAddress",
    "IpamDriver.ReleasePool",
    "IpamDriver.RequestAddress",
    "IpamDriver.RequestPool",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.DeleteNetwork",
    "NetworkDriver.DiscoverDelete",
    "NetworkDriver.DiscoverNew",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.GetCapabilities",
    "NetworkDriver.Join",
    "NetworkDriver.Leave",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.RevokeExternalConnectivity",
    "Plugin.Activate",
];

/// The first line as the call's name, the rest as the document of each call. There are no networks, so nothing is done.
pub fn docker(data: &[u8]) {
    let endpoints = Endpoints::new(Path::new("/nonexistent"));
    let (name, document) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let name = String::from_utf8_lossy(name);
    let is_there = CALLS.contains(&&*name);
    let named = answer(&name, document, &endpoints);
    assert_eq!(matches!(named, Answer::Unknown), !is_there, "{name}");
    judge(&named);
    CALLS.iter().for_each(|call| judge(&answer(call, document, &endpoints)));
}

fn judge(answer: &Answer) {
    let document = answer.document();
    assert!(document.is_object(), "{document}");
    if matches!(answer, Answer::Done(_)) {
        assert!(document.get("Err").or(document.get("Error")).is_none(), "{document}");
        return;
    }
    for key in ["Err", "Error"] {
        let problem = document[key].as_str().unwrap_or_default();
        assert!(problem.len() > "flatnet: ".len(), "{document}");
        assert_text(problem);
    }
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(2), "{document}");
}
