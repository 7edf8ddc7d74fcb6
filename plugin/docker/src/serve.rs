//! HTTP: each call is a POST with a JSON document, and so is its answer.

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{self, Answer};
use flatnet::endpoint::Endpoints;

/// More than any call: one that publishes each port of a protocol, with some eighty bytes for each, is a third of it.
const LONGEST: usize = 16 << 20;
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
    serve_until(listener, endpoints, async move {
        ended.recv().await;
    })
    .await;
    Ok(())
}

/// Answers the calls that are under way at the end: Docker makes one that is cut short again, but without its document.
async fn serve_until(
    listener: tokio::net::UnixListener,
    endpoints: Endpoints,
    ended: impl Future<Output = ()>,
) {
    let (lives, life) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut ended = pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, endpoints.clone(), life.clone()));
                }
                // Out of files, most likely: the next may find one.
                Err(e) => {
                    log::warn!("a connection could not be taken: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop((listener, lives));
    let under_way = async { while connections.join_next().await.is_some() {} };
    if timeout(PATIENCE, under_way).await.is_err() {
        log::warn!("calls were not answered within {PATIENCE:?} of the end");
    }
}

/// Takes calls as long as the other end of `life` is there.
async fn connection(
    stream: tokio::net::UnixStream,
    endpoints: Endpoints,
    mut life: watch::Receiver<()>,
) {
    let service = service_fn(|request| {
        let endpoints = endpoints.clone();
        async move { Ok::<_, Infallible>(reply(request, endpoints).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let served = tokio::select! {
        served = &mut served => served,
        _ = life.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
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
    use tokio::sync::oneshot;

    use super::*;

    /// Time passes by itself while all wait.
    #[tokio::test(start_paused = true)]
    async fn half_a_call_is_not_waited_for() {
        const HEAD: &str =
            "POST /NetworkDriver.Join HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n";
        for (half, answered) in [("", ""), (&HEAD[..9], ""), (&format!("{HEAD}{{"), "408")] {
            let (mut client, server) = tokio::net::UnixStream::pair().unwrap();
            let (_lives, life) = watch::channel(());
            let endpoints = Endpoints::new(Path::new("/none"));
            let served = tokio::spawn(connection(server, endpoints, life));
            client.write_all(half.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.split(' ').nth(1).unwrap_or_default() == answered, "{half}: {answer}");
            served.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_under_way_is_answered_at_the_end() {
        const HEAD: &str =
            "POST /NetworkDriver.GetCapabilities HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let endpoints = Endpoints::new(Path::new("/none"));
        let ended = async { ended.await.unwrap() };
        let served = tokio::spawn(serve_until(listener, endpoints, ended));
        let connect = || tokio::net::UnixStream::connect(&path);
        let (mut idle, mut busy) = (connect().await.unwrap(), connect().await.unwrap());
        let mut status = [0; 12];
        idle.write_all(format!("{HEAD}\r\n{{}}").as_bytes()).await.unwrap();
        idle.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        busy.write_all(format!("{HEAD}Expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
        busy.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 100");

        end.send(()).unwrap();
        idle.read_to_string(&mut String::new()).await.unwrap();
        assert!(connect().await.is_err(), "no other call is taken");
        busy.write_all(b"{}").await.unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("HTTP/1.1 200") && answer.contains("local"), "{answer}");
        served.await.unwrap();
    }
}
