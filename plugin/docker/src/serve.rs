//! HTTP: each call is a POST with a JSON document, and so is its answer.

use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::answer::{self, Answer};
use flatnet::endpoint::Endpoints;

/// More than any call; Docker's own are a few hundred bytes.
const LONGEST: usize = 1 << 20;
/// Docker sends a call at once. hyper waits as long for the headers.
const PATIENCE: Duration = Duration::from_secs(30);
const KIND: &str = "application/vnd.docker.plugins.v1.2+json";

/// Serves until it is told to end.
///
/// # Errors
/// The socket cannot be listened to.
pub async fn serve(listener: UnixListener, endpoints: Endpoints) -> Result<(), String> {
    let listener =
        tokio::net::UnixListener::from_std(listener).map_err(|e| format!("cannot listen: {e}"))?;
    let mut ended = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    loop {
        tokio::select! {
            _ = ended.recv() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, endpoints.clone()))),
                // Out of files, most likely: the next may find one.
                Err(e) => {
                    log::warn!("a connection could not be taken: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: tokio::net::UnixStream, endpoints: Endpoints) {
    let service = service_fn(|request| {
        let endpoints = endpoints.clone();
        async move { Ok::<_, Infallible>(reply(request, endpoints).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        log::debug!("a connection ended: {e}");
    }
}

async fn reply(request: Request<Incoming>, endpoints: Endpoints) -> Response<Full<Bytes>> {
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let unread = |status, why: &dyn std::fmt::Display| {
        document(status, &Answer::Refused(format!("cannot read the call: {why}")))
    };
    let body = Limited::new(request.into_body(), LONGEST).collect();
    let body = match timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(e)) => return unread(StatusCode::BAD_REQUEST, &e),
        Err(e) => return unread(StatusCode::REQUEST_TIMEOUT, &e),
    };
    // What asks the kernel waits for it, and for locks.
    let answered =
        tokio::task::spawn_blocking(move || answer::answer(&method, &body, &endpoints)).await;
    let answer = answered.unwrap_or_else(|e| Answer::Refused(e.to_string()));
    let status =
        if matches!(answer, Answer::Unknown) { StatusCode::NOT_FOUND } else { StatusCode::OK };
    document(status, &answer)
}

fn document(status: StatusCode, answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.document().to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Time passes by itself while all wait.
    #[tokio::test(start_paused = true)]
    async fn half_a_call_is_not_waited_for() {
        const HEAD: &str =
            "POST /NetworkDriver.Join HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n";
        for (half, answered) in [("", ""), (&HEAD[..9], ""), (&format!("{HEAD}{{"), "408")] {
            let (mut client, server) = tokio::net::UnixStream::pair().unwrap();
            let served = tokio::spawn(connection(server, Endpoints::new(Path::new("/none"))));
            client.write_all(half.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.split(' ').nth(1).unwrap_or_default() == answered, "{half}: {answer}");
            served.await.unwrap();
        }
    }
}
