//! What flatnet-agent has written down: the cluster's objects, not this node's kernel, are what is wrong.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use flatnet_conf::matters::{Engine, Matters};
use flatnet_conf::{NetworkConf, printable};
use jiff::Timestamp;

use crate::cli::finding::Finding;
use crate::cli::plugins::types;
use crate::overlay::agent::{matters, sentence};

/// What is the matter with the cluster's objects, as far as it concerns this node.
pub fn check(conf: &NetworkConf) -> Vec<Finding> {
    matters(conf).as_ref().map(judge).unwrap_or_default()
}

/// Whether a configuration of another program comes before flatnet's in the folder: these are its files, in order.
/// Only Kubernetes' runtimes take the first of them, and where flatnet is Kubernetes' network its agent is at work.
pub fn first(files: &[(PathBuf, Vec<u8>)], networks: &[NetworkConf]) -> Option<Finding> {
    let mut agents = networks.iter().filter_map(matters);
    agents.find(|matters| matters.engine == Engine::Kubernetes)?;
    let (first, bytes) = files.first()?;
    let list = serde_json::from_slice(bytes).unwrap_or_default();
    let first = first.display();
    types(&list).is_empty().then(|| {
        Finding::advise(
            format!("{first} comes before flatnet's configuration"),
            "the node's runtime takes the first one: new pods are attached to that network",
            format!("take {first} out of the folder if its network is not to be this cluster's"),
        )
    })
}

fn judge(matters: &Matters) -> Vec<Finding> {
    let Matters { engine, trouble, rejected, waits, .. } = matters;
    let server = match engine {
        Engine::Kubernetes => "the API server",
        Engine::Etcd => "etcd",
    };
    let away = trouble.iter().map(|trouble| {
        let since = Timestamp::try_from(UNIX_EPOCH + Duration::from_secs(trouble.since));
        let since = since.map(|since| since.to_string()).unwrap_or_default();
        Finding::advise(
            format!(
                "flatnet-agent hears nothing of the cluster since {since}: {}",
                printable(&trouble.why)
            ),
            "pods start and stop, but nodes that come, go or change are not heard of",
            format!("look whether {server} answers on this node, and what the agent logs"),
        )
    });
    let change = match engine {
        Engine::Kubernetes => "change the Node, or the object that is named",
        Engine::Etcd => "`flatnet-agent etcd list` shows who has what; change what is named",
    };
    let waits = waits.iter().map(move |wait| {
        Finding::advise(
            sentence(wait),
            "this node, or part of its pods, is not in the range files of the cluster until then",
            format!("{change}; the agent goes on by itself"),
        )
    });
    let rejected = rejected.iter().map(|rejected| {
        let (kind, name) = (printable(&rejected.kind), printable(&rejected.name));
        Finding::advise(
            format!("flatnet-agent leaves out the {kind} {name}: {}", printable(&rejected.problem)),
            "its node's pods are not reached from here, nor, as all agents judge alike, from elsewhere",
            match engine {
                Engine::Kubernetes => format!(
                    "correct or delete it; `kubectl get flatnet{kind}s` lists them with their age"
                ),
                Engine::Etcd => {
                    "`flatnet-agent etcd check` has the command that deletes its key".to_owned()
                }
            },
        )
    });
    away.chain(waits).chain(rejected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_matter_is_a_finding() {
        let text = r#"{"node":"a","trouble":{"since":0,"why":"refused"},
            "rejected":[{"kind":"block","name":"x","node":"c","reason":"taken","problem":"it is b's"}],
            "waits":[{"kind":"held","holder":"b","why":"the node is to have 10.1.1.0/24"}]}"#;
        let what: Vec<_> = judge(&serde_json::from_str(text).unwrap())
            .into_iter()
            .map(|found| found.what)
            .collect();
        assert_eq!(
            what,
            [
                "flatnet-agent hears nothing of the cluster since 1970-01-01T00:00:00Z: refused",
                "flatnet-agent waits: the node is to have 10.1.1.0/24",
                "flatnet-agent leaves out the block x: it is b's",
            ]
        );
        assert_eq!(judge(&Matters::default()), []);
    }
}
