//! Which call it is, and what is answered.

use std::time::Instant;

use flatnet::endpoint::Endpoints;
use flatnet_conf::one_line;
use serde_json::{Value, json};

use crate::{ipam, network};

/// What a call is answered with.
#[derive(Debug)]
pub enum Answer {
    /// It was done.
    Done(Value),
    /// It was not, for this reason.
    Refused(String),
    /// There is no such call.
    Unknown,
}

impl Answer {
    /// The document.
    pub fn document(&self) -> Value {
        match self {
            Self::Done(document) => document.clone(),
            Self::Refused(problem) => refusal(&one_line(problem)),
            Self::Unknown => refusal("there is no such call"),
        }
    }
}

/// Docker looks for it under one key in a network driver's answers and under another in an IPAM driver's.
fn refusal(problem: &str) -> Value {
    let problem = format!("flatnet: {problem}");
    json!({ "Err": problem, "Error": problem })
}

/// Serves a call, `NetworkDriver.Join` for one.
pub fn answer(method: &str, body: &[u8], endpoints: &Endpoints) -> Answer {
    let begun = Instant::now();
    let answer = served(method, body, endpoints);
    let took = begun.elapsed().as_secs_f64() * 1e3;
    match &answer {
        Answer::Done(_) => log::info!("{} ms={took:.2}", one_line(method)),
        Answer::Refused(problem) => log::error!("{} ms={took:.2}: {problem}", one_line(method)),
        Answer::Unknown => log::debug!("{}: no such call", one_line(method)),
    }
    answer
}

fn served(method: &str, body: &[u8], endpoints: &Endpoints) -> Answer {
    let outcome = match method.split_once('.') {
        Some(("Plugin", "Activate")) => {
            // Docker's daemon has begun, or calls for the first time: it has nothing half made.
            if let Err(problem) = endpoints.sweep() {
                log::warn!("{problem}");
            }
            Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] }))
        }
        Some(("IpamDriver", call)) => match ipam::call(call, body, endpoints) {
            Some(outcome) => outcome,
            None => return Answer::Unknown,
        },
        Some(("NetworkDriver", call)) => match network::call(call, body, endpoints) {
            Some(outcome) => outcome,
            None => return Answer::Unknown,
        },
        _ => return Answer::Unknown,
    };
    outcome.map_or_else(Answer::Refused, Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_not_there_is_told_from_one_that_fails() {
        let endpoints = Endpoints::new(std::path::Path::new("/nonexistent"));
        let answer = |method: &str, body: &str| answer(method, body.as_bytes(), &endpoints);
        for method in
            ["", "/", "NetworkDriver", "NetworkDriver.Fly", "IpamDriver.Fly", "VolumeDriver.List"]
        {
            assert!(matches!(answer(method, "{}"), Answer::Unknown), "{method}");
        }
        let refused = answer("NetworkDriver.Join", "[").document();
        assert!(refused["Err"].as_str().unwrap().contains("not what Docker sends"), "{refused}");
        let refused = answer("IpamDriver.RequestPool", "{}").document();
        assert!(refused["Err"].as_str().unwrap().contains("/nonexistent"), "{refused}");
        let done = answer("IpamDriver.GetCapabilities", "").document();
        assert_eq!(done["RequiresMACAddress"], true);
    }
}
