//! The own Node: its addresses, its ranges, and whether it is another one now.
//!
//! A Node has 20 kB and is written every five minutes although nothing happens. To watch it whole would be twice
//! as many bytes a minute as all else that an idle agent gets. So only the columns of `kubectl get nodes -o wide`
//! are watched, some hundred bytes, and the Node is asked for when they say another address, when it is made or
//! deleted, and each time the watch begins again. Two changes are none of a column: a second address, and ranges given
//! to a Node that has long been there; a young one is asked for at each event. Such a change is known by its time (see
//! `Pace`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::ask::{self, Failure, Watch, seconds, value};
use super::pace::Pace;
use super::state::{Node, OwnNode, Shared};
use crate::watching::Watched;

const PATH: &str = "/api/v1/nodes";
const ABSENT: u16 = 404;
/// As long as it may get its ranges from a controller that has much to do.
const YOUNG: Duration = Duration::from_secs(10 * 60);
/// Where a node of this name is, or a part of it.
pub fn path(name: &str, part: &str) -> String {
    format!("{PATH}/{name}{part}")
}

#[derive(Clone, Deserialize)]
struct WholeNode {
    metadata: super::seen::Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<Address>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Deserialize)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Clone, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl WholeNode {
    /// Others write it, and what they write that is no address or range does not count.
    fn kept(&self) -> Node {
        let internal =
            self.status.addresses.iter().filter(|address| address.r#type == "InternalIP");
        let ranges = if self.spec.pod_cidrs.is_empty() {
            std::slice::from_ref(&self.spec.pod_cidr)
        } else {
            &self.spec.pod_cidrs
        };
        let mut conditions = self.status.conditions.iter();
        Node {
            uid: self.metadata.uid.clone(),
            addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
            ranges: ranges.iter().filter_map(|range| range.parse().ok()).collect(),
            available: conditions
                .any(|condition| condition.r#type == UNAVAILABLE && condition.status == "False"),
        }
    }
}

/// The condition that keeps pods away from a Node whose network does not stand.
pub const UNAVAILABLE: &str = "NetworkUnavailable";

/// One row with what `kubectl get` shows of a Node. Only the first of a watch says what the columns are.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    column_definitions: Option<Vec<Column>>,
    rows: Option<Vec<Row>>,
}

#[derive(Clone, Deserialize)]
struct Column {
    name: String,
}

#[derive(Clone, Deserialize)]
struct Row {
    cells: Vec<Value>,
}

/// The watch of the own Node.
pub struct OwnWatch {
    client: Client,
    shared: Arc<Shared>,
    name: String,
    /// Since when this very Node is known.
    known: Option<(String, Instant)>,
    pace: Pace,
}

/// A watch that has begun.
pub struct Columns {
    watch: Watch,
    address: AddressColumn,
}

/// Which column has the address.
#[derive(Default)]
struct AddressColumn(Option<usize>);

impl OwnWatch {
    /// `name` is the Node's.
    pub fn new(client: Client, shared: Arc<Shared>, name: &str) -> OwnWatch {
        OwnWatch { client, shared, name: name.to_owned(), known: None, pace: Pace::default() }
    }

    /// Asks for the Node; returns the version from which a watch goes on, which is any where there is no Node.
    async fn read(&mut self) -> Result<String, Failure> {
        let path = path(&self.name, "");
        let read = ask::ask::<WholeNode>(&self.client, Method::GET, &path, ask::WHOLE, None).await;
        self.pace.reads(Instant::now());
        match read {
            Ok(node) => {
                let kept = node.kept();
                if self.known.as_ref().is_none_or(|(uid, _)| *uid != kept.uid) {
                    self.known = Some((kept.uid.clone(), Instant::now()));
                }
                self.set(OwnNode::Is(kept));
                Ok(node.metadata.resource_version)
            }
            Err(failure) if failure.code() == Some(ABSENT) => {
                self.set(OwnNode::Absent);
                Ok(String::new())
            }
            Err(failure) => Err(failure),
        }
    }

    fn set(&self, own: OwnNode) {
        self.shared.change(|state| {
            let news = state.own != own;
            state.own = own;
            news
        });
    }

    fn young(&self) -> bool {
        self.known.as_ref().is_none_or(|(_, since)| since.elapsed() < YOUNG)
    }
}

/// Whether the Node has to be asked for, as a row has this address.
fn says_more(node: Option<&Node>, address: Option<&str>, young: bool) -> bool {
    let Some(node) = node else { return true };
    let known = node.addresses.first().map(IpAddr::to_string);
    let lacks = node.addresses.is_empty() || (young && node.ranges.is_empty());
    lacks || address.is_none() || address != known.as_deref()
}

impl AddressColumn {
    /// The address that a row has.
    fn of<'a>(&mut self, table: &'a Table) -> Option<&'a str> {
        if let Some(columns) = &table.column_definitions {
            self.0 = columns.iter().position(|column| column.name == "Internal-IP");
        }
        table.rows.as_ref()?.first()?.cells.get(self.0?)?.as_str()
    }
}

impl Watched for OwnWatch {
    type Watch = Columns;
    type Failure = Failure;

    fn name(&self) -> &str {
        "the own Node"
    }

    fn begun(&self, failure: Option<&Failure>) {
        self.shared.trouble("the own Node", failure);
    }

    fn is_refusal(failure: &Failure) -> bool {
        failure.code().is_some()
    }

    async fn begin(&mut self) -> Result<Columns, Failure> {
        let version = self.read().await?;
        let (version, seconds) = (value(&version)?, seconds());
        // Without bookmarks: it always begins again with the whole Node.
        let uri = format!(
            "{PATH}?watch=true&timeoutSeconds={seconds}&resourceVersion={version}\
             &fieldSelector=metadata.name%3D{}&includeObject=None",
            self.name
        );
        let watch = ask::watch(&self.client, &uri, ask::COLUMNS).await?;
        Ok(Columns { watch, address: AddressColumn::default() })
    }

    async fn follow(&mut self, mut columns: Columns) -> Result<(), Failure> {
        loop {
            let next = columns.watch.next::<Table>();
            let event = match self.pace.due() {
                None => next.await,
                Some(due) => match tokio::time::timeout_at(due, next).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.read().await?;
                        continue;
                    }
                },
            };
            let Some(event) = event? else { return Ok(()) };
            match event {
                WatchEvent::Added(table) => {
                    columns.address.of(&table);
                    self.read().await?;
                }
                WatchEvent::Modified(table) => {
                    self.pace.writes(Instant::now());
                    let address = columns.address.of(&table);
                    let more = says_more(self.shared.state().node(), address, self.young());
                    if more {
                        self.read().await?;
                    }
                }
                WatchEvent::Deleted(_) => self.set(OwnNode::Absent),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(response) => return Err(Failure::Refused(response)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;
    use serde_json::json;

    use super::*;

    fn whole(node: Value) -> Node {
        serde_json::from_value::<WholeNode>(node).unwrap().kept()
    }

    #[test]
    fn a_node_says_its_addresses_ranges_and_condition() {
        let node = whole(json!({
            "metadata": {"name": "n1", "uid": "u1", "resourceVersion": "4"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "n1"},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "ExternalIP", "address": "198.51.100.1"},
                    {"type": "InternalIP", "address": "2001:db8::1"},
                ],
                "conditions": [
                    {"type": "Ready", "status": "False"},
                    {"type": "NetworkUnavailable", "status": "False", "reason": "FlatnetIsUp"},
                ],
            },
        }));
        assert_eq!(node.uid, "u1");
        assert_eq!(
            node.addresses,
            ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        let ranges = ["10.244.1.0/24", "fd00:10:244:1::/64"]
            .map(|range| range.parse::<IpNetwork>().unwrap());
        assert_eq!(node.ranges, ranges);
        assert!(node.available);
    }

    #[test]
    fn a_node_may_say_nothing_yet_or_nonsense() {
        let node = whole(json!({"metadata": {"uid": "u1"}}));
        assert_eq!(node, Node { uid: "u1".to_owned(), ..Node::default() });
        let node = whole(json!({
            "metadata": {"uid": "u1"},
            "spec": {"podCIDR": "10.244.1.0/24"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "n1.example"}],
                "conditions": [{"type": "NetworkUnavailable", "status": "True"}],
            },
        }));
        assert_eq!((node.addresses.len(), node.available), (0, false));
        assert_eq!(node.ranges, ["10.244.1.0/24".parse::<IpNetwork>().unwrap()]);
    }

    #[test]
    fn a_row_has_the_address_where_the_first_of_a_watch_said() {
        let mut column = AddressColumn::default();
        let mut of = |table: Value| {
            let table = serde_json::from_value::<Table>(table).unwrap();
            column.of(&table).map(str::to_owned)
        };
        let rows =
            |address: &str| json!([{"cells": ["n1", "Ready", "5m", address], "object": null}]);
        assert_eq!(of(json!({"columnDefinitions": null, "rows": rows("192.0.2.1")})), None);
        let columns = ["Name", "Status", "Age", "Internal-IP"]
            .map(|name| json!({"name": name, "type": "string"}));
        assert_eq!(
            of(json!({"columnDefinitions": columns, "rows": rows("192.0.2.1")})).unwrap(),
            "192.0.2.1"
        );
        assert_eq!(
            of(json!({"columnDefinitions": null, "rows": rows("192.0.2.2")})).unwrap(),
            "192.0.2.2"
        );
        assert_eq!(of(json!({"columnDefinitions": null, "rows": null})), None);
        assert_eq!(of(json!({"kind": "Node", "metadata": {}})), None);
    }

    #[test]
    fn a_node_is_asked_for_only_where_its_row_says_something_new() {
        let whole = Node {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            ranges: vec!["10.244.1.0/24".parse().unwrap()],
            ..Node::default()
        };
        let same = Some("192.0.2.1");
        for young in [true, false] {
            assert!(!says_more(Some(&whole), same, young), "a heartbeat");
            assert!(says_more(Some(&whole), Some("192.0.2.2"), young), "another address");
            assert!(says_more(Some(&whole), None, young), "a server that sends no rows");
            assert!(says_more(None, same, young), "it was not there");
        }
        let no_ranges = Node { ranges: Vec::new(), ..whole.clone() };
        assert!(says_more(Some(&no_ranges), same, true));
        assert!(!says_more(Some(&no_ranges), same, false), "it is one that claims");
        let no_address = Node { addresses: Vec::new(), ..whole };
        assert!(says_more(Some(&no_address), Some("<none>"), false));
    }
}
