//! Requests, and what comes back: one answer, or a watch's line after line.
//!
//! They are put together here and not by kube, which allows a watch to last no longer than five minutes: one
//! that begins again costs its headers each time, and that of the own Node the whole Node.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use kube::error::ErrorResponse;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::backoff::random;
use crate::causes::chain;

/// A watch begins again after half of this up to all of it, so that those of a cluster's nodes do not go on
/// doing it together.
const WATCHED: u64 = 30 * 60;
/// For a whole answer, and for the beginning of a watch.
const ANSWER: Duration = Duration::from_secs(15);
/// For a list of many objects over a slow line.
const LIST: Duration = Duration::from_secs(60);
/// etcd takes no object of more than 1.5 MiB.
const LINE: u64 = 4 << 20;

/// What an API server writes of an object that was changed: that it was. A Node has 20 kB more.
pub const BRIEF: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The whole object.
pub const WHOLE: &str = "application/json";
/// The columns that `kubectl get` shows.
pub const COLUMNS: &str = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";

/// Why there was no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server says no.
    #[error("{} (HTTP {})", .0.message, .0.code)]
    Refused(ErrorResponse),
    /// There is no server, or none that one may trust.
    #[error("{0}")]
    Unreachable(String),
    /// It says nothing.
    #[error("no answer for too long")]
    Silent,
    /// It says what is not understood.
    #[error("not understood: {0}")]
    Nonsense(String),
}

impl Failure {
    /// The status code of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Refused(response) => Some(response.code),
            _ => None,
        }
    }
}

/// With all that led to it: the outermost says no more than that a client failed.
impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(response) => Failure::Refused(response),
            kube::Error::SerdeError(error) => Failure::Nonsense(error.to_string()),
            kube::Error::Service(error) => Failure::Unreachable(chain(error.as_ref())),
            other => Failure::Unreachable(chain(&other)),
        }
    }
}

/// One request that may change something, and its answer.
pub async fn ask<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    uri: &str,
    accept: &str,
    body: Option<(&str, &Value)>,
) -> Result<T, Failure> {
    let request = request(method, uri, accept, body)?;
    let answer = tokio::time::timeout(ANSWER, client.request::<T>(request)).await;
    Ok(answer.map_err(|_| Failure::Silent)??)
}

/// A whole list. It is read where it comes in: kube's own way has it in memory three times.
pub async fn list<T: DeserializeOwned>(client: &Client, uri: &str) -> Result<T, Failure> {
    let mut bytes = Vec::new();
    let whole = async {
        let stream = client.request_stream(request(Method::GET, uri, WHOLE, None)?).await?;
        let read = Box::pin(stream).read_to_end(&mut bytes).await;
        read.map_err(|error| Failure::Unreachable(chain(&error)))
    };
    tokio::time::timeout(LIST, whole).await.map_err(|_| Failure::Silent)??;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Nonsense(format!("a list: {error}")))
}

fn request(
    method: Method,
    uri: &str,
    accept: &str,
    body: Option<(&str, &Value)>,
) -> Result<Request<Vec<u8>>, Failure> {
    let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, accept);
    if let Some((kind, _)) = body {
        request = request.header(CONTENT_TYPE, kind);
    }
    let bytes = body.map_or_else(Vec::new, |(_, body)| body.to_string().into_bytes());
    request.body(bytes).map_err(|error| Failure::Nonsense(format!("{uri}: {error}")))
}

/// How many seconds a watch is to last.
pub fn seconds() -> u64 {
    WATCHED / 2 + (WATCHED as f64 / 2.0 * random()) as u64
}

/// A watch that the server accepted.
pub struct Watch {
    stream: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
}

/// Begins a watch.
pub async fn watch(client: &Client, uri: &str, accept: &str) -> Result<Watch, Failure> {
    let request = request(Method::GET, uri, accept, None)?;
    let stream = tokio::time::timeout(ANSWER, client.request_stream(request)).await;
    let stream = stream.map_err(|_| Failure::Silent)??;
    Ok(Watch { stream: Box::pin(stream), line: Vec::new() })
}

impl Watch {
    /// The next event; `None` where the server ends the watch, as it was asked to after a while. A call may be given
    /// up before it returns: what has come of a line stays for the next.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<WatchEvent<T>>, Failure> {
        let read = (&mut self.stream).take(LINE).read_until(b'\n', &mut self.line).await;
        let event = match read.map_err(|error| Failure::Unreachable(chain(&error)))? {
            0 => Ok(None),
            _ => event(&self.line).map(Some),
        };
        self.line.clear();
        event
    }
}

/// An event from its line. An error within a watch is one like any other.
fn event<T: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<T>, Failure> {
    match serde_json::from_slice(line) {
        Ok(WatchEvent::Error(response)) => Err(Failure::Refused(response)),
        Ok(event) => Ok(event),
        Err(error) => Err(Failure::Nonsense(format!("a watch's event: {error}"))),
    }
}

/// A value that a server gave and that goes back to it: what could be more than a value is none.
pub fn value(text: &str) -> Result<&str, Failure> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.~".contains(letter);
    match text.chars().all(plain) {
        true => Ok(text),
        false => Err(Failure::Nonsense(format!("{text:?} as a version or a place in a list"))),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

    use super::super::seen::Seen;
    use super::*;

    fn read(line: &str) -> Result<WatchEvent<Seen>, Failure> {
        event(line.as_bytes())
    }

    #[test]
    fn events_are_read_from_lines() {
        let line = r#"{"type":"ADDED","object":{"kind":"FlatnetNode","metadata":{"name":"n1"},"spec":{"vtep":"192.0.2.1"}}}"#;
        assert!(
            matches!(read(line), Ok(WatchEvent::Added(seen)) if seen.text("vtep") == "192.0.2.1")
        );
        let line = r#"{"type":"BOOKMARK","object":{"kind":"FlatnetNode","apiVersion":"flatnet.dev/v1alpha1",
            "metadata":{"resourceVersion":"12746","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(
            matches!(read(line), Ok(WatchEvent::Bookmark(mark)) if mark.metadata.resource_version == "12746")
        );
    }

    #[test]
    fn an_error_in_a_watch_is_a_refusal_with_its_code() {
        let line = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
            "message":"too old resource version: 1 (9)","reason":"Expired","code":410}}"#;
        let failure = read(line).unwrap_err();
        assert_eq!(failure.code(), Some(410));
        assert_eq!(failure.to_string(), "too old resource version: 1 (9) (HTTP 410)");
        assert!(matches!(read("<html>"), Err(Failure::Nonsense(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_was_given_up_half_way_is_read_to_its_end() {
        let line =
            r#"{"type":"ADDED","object":{"metadata":{"name":"n1"},"spec":{"vtep":"192.0.2.1"}}}"#;
        let (begin, end) = line.split_at(20);
        let second = Duration::from_secs(1);
        let later = async move {
            tokio::time::sleep(2 * second).await;
            Ok(format!("{end}\n"))
        };
        let parts = stream::once(async { Ok(begin.to_owned()) }).chain(stream::once(later));
        let mut watch =
            Watch { stream: Box::pin(Box::pin(parts).into_async_read()), line: Vec::new() };
        assert!(tokio::time::timeout(second, watch.next::<Seen>()).await.is_err());
        let event = watch.next::<Seen>().await.unwrap();
        assert!(matches!(event, Some(WatchEvent::Added(seen)) if seen.text("vtep") == "192.0.2.1"));
        assert!(watch.next::<Seen>().await.unwrap().is_none());
    }

    #[test]
    fn what_a_server_gave_cannot_say_more_than_it() {
        assert_eq!(value("12746").unwrap(), "12746");
        assert_eq!(value("").unwrap(), "");
        for text in ["1&watch=false", "1 2", "a/b", "%26", "1\n"] {
            assert!(value(text).is_err(), "{text:?}");
        }
    }
}
