//! Events on the Node: what `kubectl describe node` shows to an operator who looks why pods do not start.
//!
//! They are kept by etcd, for an hour, for all nodes: one is not written again while it is there, and never many.
//! Nothing waits for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::source::Notice;

use super::ask::{BRIEF, ask};
use super::state::Shared;

/// Those of what belongs to no namespace are in this one.
const PATH: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
/// As long as the API server keeps one.
const KEPT: Duration = Duration::from_secs(60 * 60);
const MANY: usize = 20;
/// The API server takes no longer one.
const LONGEST: usize = 1024;

/// What was told of late.
#[derive(Default)]
struct Told(VecDeque<(Instant, Notice)>);

impl Told {
    /// Whether to tell it: not what is there still, and not many.
    fn allows(&mut self, notice: &Notice, now: Instant) -> bool {
        self.0.retain(|(at, _)| now.duration_since(*at) < KEPT);
        self.0.len() < MANY && self.0.iter().all(|(_, told)| told != notice)
    }

    fn tell(&mut self, notice: Notice, now: Instant) {
        self.0.push_back((now, notice));
    }
}

/// A queue of notices, and who takes them to the server.
pub fn teller(
    client: Client,
    shared: Arc<Shared>,
    node: &str,
) -> (Sender<Notice>, impl Future<Output = ()> + use<>) {
    let (sender, receiver) = channel(MANY);
    (sender, take(receiver, client, shared, node.to_owned()))
}

async fn take(mut notices: Receiver<Notice>, client: Client, shared: Arc<Shared>, node: String) {
    let mut told = Told::default();
    while let Some(notice) = notices.recv().await {
        if !told.allows(&notice, Instant::now()) {
            continue;
        }
        let uid = shared.state().node().map(|node| node.uid.clone());
        let event = event(&notice, &node, uid.as_deref(), Timestamp::now());
        let body = Some(("application/json", &event));
        match ask::<IgnoredAny>(&client, Method::POST, PATH, BRIEF, body).await {
            Ok(_) => told.tell(notice, Instant::now()),
            Err(failure) => log::debug!("writing an Event on Node {node}: {failure}"),
        }
    }
}

fn event(notice: &Notice, node: &str, uid: Option<&str>, now: Timestamp) -> Value {
    // With the time there is room for no more.
    let name: String = node.chars().take(200).collect();
    let note: String = notice
        .message
        .chars()
        .scan(0, |bytes, letter| {
            *bytes += letter.len_utf8();
            (*bytes <= LONGEST).then_some(letter)
        })
        .collect();
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond())},
        "eventTime": format!("{now:.6}"),
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "note": note,
        "action": "Network",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid},
        "reportingController": "flatnet.dev/agent",
        "reportingInstance": name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(message: &str) -> Notice {
        Notice { reason: "EntryRejected", message: message.to_owned(), warning: true }
    }

    #[test]
    fn what_is_there_still_is_not_told_again() {
        let (mut told, begin) = (Told::default(), Instant::now());
        assert!(told.allows(&notice("a"), begin));
        told.tell(notice("a"), begin);
        assert!(!told.allows(&notice("a"), begin + KEPT / 2));
        assert!(told.allows(&notice("b"), begin + KEPT / 2));
        assert!(told.allows(&notice("a"), begin + KEPT));
    }

    #[test]
    fn many_are_not_told() {
        let (mut told, begin) = (Told::default(), Instant::now());
        for number in 0..MANY {
            assert!(told.allows(&notice(&number.to_string()), begin));
            told.tell(notice(&number.to_string()), begin);
        }
        assert!(!told.allows(&notice("one more"), begin));
        assert!(told.allows(&notice("one more"), begin + KEPT));
        assert!(told.0.is_empty());
    }

    #[test]
    fn an_event_is_on_the_node() {
        let now = Timestamp::from_second(1_767_323_045).unwrap();
        let event = event(&notice(&"ä".repeat(LONGEST)), "n1", Some("u1"), now);
        assert_eq!(event["eventTime"], "2026-01-02T03:04:05.000000Z");
        assert_eq!(event["metadata"]["name"], "n1.1886caf21c963200");
        assert_eq!(event["type"], "Warning");
        assert_eq!(
            event["regarding"],
            json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"})
        );
        assert_eq!(event["note"].as_str().unwrap().len(), LONGEST);
    }
}
