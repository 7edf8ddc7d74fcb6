//! Unary gRPC calls over a Unix socket: what it takes to drive a container runtime, and no more.
//!
//! Each call has a connection of its own. Messages are Protocol Buffers behind five bytes: a flag
//! and their length; the outcome stands in the trailers.

use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;

/// Longer than any call takes unless it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Calls `/SERVICE/METHOD` on a socket.
///
/// # Errors
/// What the service said, or why it could not be asked.
pub fn unary<T: Message + Default>(
    socket: &Path,
    method: &str,
    request: &impl Message,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
    let answer = async { tokio::time::timeout(DEADLINE, exchange(socket, method, request)).await };
    let answer = runtime.block_on(answer);
    let answer = answer.map_err(|_| format!("{method}: no answer for {DEADLINE:?}"))?;
    let message = answer.map_err(|error| format!("{method}: {error}"))?;
    T::decode(message).map_err(|error| format!("{method}: {error}"))
}

async fn exchange(
    socket: &Path,
    method: &str,
    request: &impl Message,
) -> Result<Bytes, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(socket).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let head = Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut body) = client.ready().await?.send_request(head, false)?;
    body.send_data(framed(request)?, true)?;
    let (head, mut body) = response.await?.into_parts();
    if head.headers.contains_key("grpc-status") {
        // A failure may come without a body.
        succeeded(&head.headers)?;
    }
    let mut message = read(&mut body).await?;
    succeeded(&body.trailers().await?.unwrap_or_default())?;
    if message.len() < 5 {
        return Err("the answer has no message".into());
    }
    message.advance(5);
    Ok(message)
}

/// A message as it goes over the wire.
fn framed(request: &impl Message) -> Result<Bytes, Box<dyn std::error::Error>> {
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length)?);
    request.encode(&mut bytes)?;
    Ok(bytes.freeze())
}

async fn read(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    Ok(all.freeze())
}

/// The outcome in the headers or trailers.
fn succeeded(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => {
            Err(format!("{} (gRPC code {code})", unescaped(text("grpc-message").unwrap_or(""))))
        }
        None => Err("the answer has no grpc-status".to_owned()),
    }
}

/// Undoes the percent encoding of `grpc-message`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_failures_are_readable() {
        assert_eq!(unescaped("no address left in 10.0.0.0/24"), "no address left in 10.0.0.0/24");
        assert_eq!(unescaped("50%25 \"f%C3%BCr\" %zz%"), "50% \"für\" %zz%");
    }
}
