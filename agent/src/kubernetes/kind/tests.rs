//! What is asked of a server, and what is known of its objects, with answers as a server writes them.

use std::sync::Mutex;

use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use crate::cluster::NodeEntry;

use super::*;

/// What is in the URI of a request, and the answer to it.
type Answer = (&'static str, u16, String);

/// A server that answers these requests, in this order.
fn server(answers: Vec<Answer>) -> Client {
    let answers = Mutex::new(answers.into_iter());
    let answer = move |request: Request<Body>| {
        let uri = request.uri().to_string();
        let next = answers.lock().unwrap().next();
        let (part, code, body) = next.unwrap_or_else(|| panic!("one request too many: {uri}"));
        assert!(uri.contains(part), "{part} in {uri}");
        async move {
            Ok::<_, BoxError>(
                Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap(),
            )
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn watched(answers: Vec<Answer>) -> AllOf<NodeEntry> {
    AllOf::new(server(answers), Arc::default(), "n1", String::new(), |state| &mut state.nodes)
}

fn object(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "flatnet.dev/v1alpha1", "kind": "FlatnetNode",
        "metadata": {"name": name, "uid": format!("of {name}"), "resourceVersion": version.to_string()},
        "spec": {"vtep": "192.0.2.1"},
    })
}

fn events(events: &[(&str, Value)]) -> String {
    events
        .iter()
        .map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})))
        .collect()
}

fn bookmark(version: u32, annotations: Value) -> (&'static str, Value) {
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    (
        "BOOKMARK",
        json!({"apiVersion": "flatnet.dev/v1alpha1", "kind": "FlatnetNode", "metadata": metadata}),
    )
}

fn complete(version: u32) -> (&'static str, Value) {
    bookmark(version, json!({"k8s.io/initial-events-end": "true"}))
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "No", "code": code})
}

/// One watch from its beginning to its end.
async fn watch(all: &mut AllOf<NodeEntry>) -> Result<(), Failure> {
    let watch = all.begin().await?;
    all.follow(watch).await
}

fn known(all: &AllOf<NodeEntry>) -> Option<Vec<String>> {
    let mut state = all.shared.state();
    state.blocks = Some(Kept::none_of("n1"));
    let mut names: Vec<_> = state.cluster()?.nodes.iter().map(|node| node.name.clone()).collect();
    names.sort();
    Some(names)
}

/// What is asked before a watch goes on, and that the store has come to this version.
fn at(version: u32) -> Answer {
    with(version, &[])
}

fn with(version: u32, objects: &[Value]) -> Answer {
    let list = json!({"metadata": {"resourceVersion": version.to_string()}, "items": objects});
    ("?limit=1&fieldSelector=metadata.name%3Dn1", 200, list.to_string())
}

const STREAMED: &str = "watch=true&allowWatchBookmarks=true";

#[tokio::test(start_paused = true)]
async fn objects_come_as_events_and_then_what_changes() {
    let mut all = watched(vec![
        (
            "resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            200,
            events(&[
                ("ADDED", object("a", 3)),
                ("ADDED", object("b", 4)),
                complete(7),
                ("DELETED", object("a", 8)),
                ("ADDED", object("c", 9)),
                bookmark(12, json!({})),
            ]),
        ),
        at(12),
        ("resourceVersion=12", 200, events(&[("DELETED", object("b", 13))])),
        at(20),
        ("resourceVersion=13", 200, String::new()),
    ]);
    assert_eq!(known(&all), None);
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["b", "c"]);
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["c"]);
    watch(&mut all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_no_lists_as_events_is_asked_for_pages() {
    let page = |version: &str, place: &str, names: &[&str]| {
        let items: Vec<_> = names.iter().map(|name| object(name, 1)).collect();
        json!({"metadata": {"resourceVersion": version, "continue": place}, "items": items})
            .to_string()
    };
    let mut all = watched(vec![
        ("sendInitialEvents", 422, status(422).to_string()),
        ("?limit=500&resourceVersion=0", 200, page("5", "abc", &["a"])),
        ("?limit=500&continue=abc", 200, page("5", "", &["b"])),
        ("resourceVersion=5", 200, events(&[("ERROR", status(410))])),
        ("?limit=500&resourceVersion=", 200, page("9", "", &["b"])),
        ("resourceVersion=9", 200, String::new()),
    ]);
    assert_eq!(watch(&mut all).await.unwrap_err().code(), Some(410));
    assert_eq!(known(&all).unwrap(), ["a", "b"]);
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_expired_is_a_new_list() {
    let first = || ("sendInitialEvents", 200, events(&[("ADDED", object("a", 3)), complete(7)]));
    let again = || {
        (
            "resourceVersion=&sendInitialEvents",
            200,
            events(&[("ADDED", object("b", 8)), complete(9)]),
        )
    };
    // It is told so either way.
    for expired in [
        (STREAMED, 410, status(410).to_string()),
        (STREAMED, 200, events(&[("ERROR", status(410))])),
    ] {
        let mut all = watched(vec![first(), at(7), expired, again()]);
        watch(&mut all).await.unwrap();
        while known(&all).unwrap() == ["a"] {
            let _ = watch(&mut all).await;
        }
        assert_eq!(known(&all).unwrap(), ["b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_list_is_none() {
    let mut all = watched(vec![
        ("sendInitialEvents", 200, events(&[("ADDED", object("a", 3)), complete(7)])),
        at(7),
        (STREAMED, 410, status(410).to_string()),
        ("sendInitialEvents", 200, events(&[("ADDED", object("b", 8))])),
        ("sendInitialEvents", 200, events(&[("ADDED", object("b", 8)), complete(9)])),
    ]);
    watch(&mut all).await.unwrap();
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["a"]);
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_is_asked_for_as_pages() {
    let page = json!({"metadata": {"resourceVersion": "5"}, "items": [object("a", 3)]}).to_string();
    let mut all = watched(vec![
        ("sendInitialEvents", 200, events(&[("ADDED", object("a", 3)), bookmark(7, json!({}))])),
        ("?limit=500", 200, page),
        ("resourceVersion=5", 200, String::new()),
    ]);
    assert!(matches!(watch(&mut all).await, Err(Failure::Nonsense(_))));
    assert_eq!(known(&all), None);
    watch(&mut all).await.unwrap();
    assert_eq!(known(&all).unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_understood_is_a_failure() {
    let mut all = watched(vec![
        ("sendInitialEvents", 502, "<html>".to_owned()),
        ("sendInitialEvents", 200, "<html>".to_owned()),
        ("sendInitialEvents", 403, status(403).to_string()),
    ]);
    assert_eq!(watch(&mut all).await.unwrap_err().code(), Some(502));
    assert!(matches!(watch(&mut all).await, Err(Failure::Nonsense(_))));
    assert_eq!(watch(&mut all).await.unwrap_err().code(), Some(403));
    assert_eq!(known(&all), None);
}

/// A watch of the own object and another, which broke off at version 7, and how it goes on; whether by a new list.
async fn goes_on_after(now: Answer, next: (&'static str, u32)) -> bool {
    let more = match next {
        ("resourceVersion=7", version) => vec![("ADDED", object("c", version))],
        (_, version) => vec![("ADDED", object("c", version)), complete(version)],
    };
    let first = [("ADDED", object("n1", 3)), ("ADDED", object("b", 4)), complete(7)];
    let mut all = watched(vec![
        ("resourceVersion=0&sendInitialEvents", 200, events(&first)),
        now,
        (next.0, 200, events(&more)),
    ]);
    watch(&mut all).await.unwrap();
    watch(&mut all).await.unwrap();
    let names = known(&all).unwrap();
    let went_back = all.shared.state().went_back.is_some();
    assert_eq!(went_back, names == ["c"], "{names:?}");
    assert!(went_back || names == ["b", "c", "n1"], "{names:?}");
    went_back
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_back_is_listed_again() {
    const LIST: (&str, u32) = ("resourceVersion=&sendInitialEvents", 6);
    const WATCH: (&str, u32) = ("resourceVersion=7", 9);
    let own = || object("n1", 3);
    let mut another = own();
    another["metadata"]["uid"] = json!("another");
    for version in [7, 8, 10] {
        assert!(!goes_on_after(with(version, &[own()]), WATCH).await, "it went on to {version}");
    }
    assert!(goes_on_after(with(6, &[own()]), LIST).await, "it is not as far");
    assert!(goes_on_after(with(10, &[another]), LIST).await, "the own object is another");
    assert!(goes_on_after(with(10, &[]), LIST).await, "the own object was lost");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_tell_its_version_is_asked_again() {
    let mut all = watched(vec![
        ("sendInitialEvents", 200, events(&[("ADDED", object("a", 3)), complete(7)])),
        ("?limit=1", 503, status(503).to_string()),
        at(7),
        ("resourceVersion=7", 200, String::new()),
    ]);
    watch(&mut all).await.unwrap();
    assert_eq!(watch(&mut all).await.unwrap_err().code(), Some(503));
    watch(&mut all).await.unwrap();
}

#[test]
fn versions_that_are_numbers_are_compared_as_such() {
    assert!(is_before("99", "100"));
    assert!(!is_before("100", "100") && !is_before("100", "99"));
    assert!(!is_before("a", "b") && !is_before("", "7") && !is_before("7", "b"));
}
