//! What a kubelet and a Prometheus ask: few short questions. A flood of others gets no more than its share of
//! connections, of memory and of time.

mod listen;
mod places;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::state::State;
use listen::listen;
use places::Places;

/// From the first byte of a question to the last of the answer.
const LONGEST: Duration = Duration::from_secs(10);
/// The least that hyper takes.
const HEADERS: usize = 8192;
/// What could not be listened to is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Serves for ever. An address that another has, an agent that is just ending for one, is waited for.
pub async fn serve(address: SocketAddr, state: Arc<State>) {
    let mut told = None;
    let listener = loop {
        match listen(address) {
            Ok(listener) => break listener,
            Err(error) => {
                let words = format!("cannot listen on {address}: {error}; it is tried again");
                if told.as_ref() != Some(&words) {
                    log::warn!("{words}");
                    told = Some(words);
                }
                sleep(AGAIN).await;
            }
        }
    };
    serve_on(listener, state).await;
}

async fn serve_on(listener: TcpListener, state: Arc<State>) {
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let state = Arc::clone(&state);
                let connection = tokio::spawn(async move {
                    // Who goes away without an answer is no matter.
                    let _ = timeout(LONGEST, answer(stream, &state)).await;
                });
                places.take(peer, connection.abort_handle());
                // A question that is there already is answered before others can take its place.
                yield_now().await;
            }
            // Out of files, most likely: the next may find one.
            Err(error) => {
                log::debug!("a connection could not be taken: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, state: &State) -> Result<(), io::Error> {
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(reply(request.method(), request.uri().path(), state))
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

fn reply(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    let whether = |fine: bool, not: &'static str| match fine {
        true => text(StatusCode::OK, "ok\n"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, not),
    };
    match path {
        "/healthz" => whether(state.lives(), "the loop does not go round\n"),
        "/readyz" => whether(state.is_ready(), "this node has not been brought up yet\n"),
        "/metrics" => match state.metrics.text() {
            Ok(metrics) => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                metrics,
            ),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot be written\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz or /metrics\n"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn server() -> (SocketAddr, Arc<State>) {
        let state = Arc::new(State::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_on(listener, Arc::clone(&state)));
        (address, state)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that has enough of it may reset the connection.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn each_question_has_its_answer() {
        let (address, state) = server().await;
        let get = async |path: &str| {
            ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
        };
        assert!(get("/healthz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(get("/readyz").await.starts_with("HTTP/1.1 503 "));
        state.set_ready();
        assert!(get("/readyz").await.ends_with("\r\n\r\nok\n"));
        let metrics = get("/metrics").await;
        assert!(
            metrics.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{metrics}"
        );
        assert!(metrics.contains("\nflatnet_agent_ready 1\n"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get("/").await.starts_with("HTTP/1.1 404 "));
        let post =
            ask(address, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    }

    #[tokio::test]
    async fn too_much_is_refused() {
        let (address, _) = server().await;
        let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * HEADERS));
        let answer = ask(address, &long).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }

    /// Fewer than the shortest queue of the kernel, and many times as many as there are places.
    const SILENT: usize = 100;

    /// A connection on which nothing is asked.
    fn silent(address: SocketAddr) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn is_open(mut stream: &std::net::TcpStream) -> bool {
        let read = std::io::Read::read(&mut stream, &mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn who_is_silent_keeps_nobody_out() {
        let (address, _) = server().await;
        let healthy = async || {
            let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        };
        let before: Vec<_> = (0..SILENT).map(|_| silent(address)).collect();
        healthy().await;
        // Their time is not over: it was not that which made room.
        let open = before.iter().filter(|stream| is_open(stream)).count();
        assert_eq!(open, places::CONNECTIONS - 1);
        assert!(before[before.len() - open..].iter().all(is_open), "the newest are left");
        // Nor those that come behind it.
        let asked = async {
            let behind: Vec<_> = (0..SILENT).map(|_| silent(address)).collect();
            yield_now().await;
            behind
        };
        let ((), behind) = tokio::join!(healthy(), asked);
        assert!(is_open(&behind[SILENT - 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_let_go() {
        let (address, _) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Time goes on by itself when nothing else is left to do.
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}
