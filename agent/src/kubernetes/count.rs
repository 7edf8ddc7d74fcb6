//! What the API server was asked, and how much it said, for `/metrics`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use http_body_util::combinators::MapFrame;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Request, Response, Uri};
use tower::{Layer, Service};

use crate::requests::Requests;

/// What Kubernetes calls it. Lists are always asked for in pages.
fn verb(method: &Method, uri: &Uri) -> &'static str {
    let asks = |key: &str| {
        uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with(key)))
    };
    match *method {
        Method::GET if asks("watch=") => "watch",
        Method::GET if asks("limit=") => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// Counts what goes through.
pub struct CountLayer(pub Arc<Requests>);

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count { inner, counts: Arc::clone(&self.0) }
    }
}

/// Counts what goes through to another service.
#[derive(Clone)]
pub struct Count<S> {
    inner: S,
    counts: Arc<Requests>,
}

/// A body whose parts are counted as they come.
pub type Counted = MapFrame<Incoming, Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>>;

impl<S, B> Service<Request<B>> for Count<S>
where
    S: Service<Request<B>, Response = Response<Incoming>>,
    S::Future: Send + 'static,
{
    type Response = Response<Counted>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = verb(request.method(), request.uri());
        let counts = Arc::clone(&self.counts);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            counts.answer(verb, answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
            Ok(answer?.map(|body| counted(body, counts)))
        })
    }
}

fn counted(body: Incoming, counts: Arc<Requests>) -> Counted {
    body.map_frame(Box::new(move |frame| {
        let length = frame.data_ref().map_or(0, Bytes::len);
        counts.receive(length);
        frame
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_called_what_kubernetes_calls_them() {
        let of = |method, uri| verb(&method, &Uri::from_static(uri));
        assert_eq!(of(Method::GET, "/apis/flatnet.dev/v1alpha1/flatnetnodes?watch=true"), "watch");
        assert_eq!(
            of(Method::GET, "/apis/flatnet.dev/v1alpha1/flatnetnodes?resourceVersion=0&limit=500"),
            "list"
        );
        assert_eq!(of(Method::GET, "/api/v1/nodes/limit=1"), "get");
        assert_eq!(of(Method::POST, "/apis/flatnet.dev/v1alpha1/flatnetblocks"), "create");
        assert_eq!(of(Method::PUT, "/apis/flatnet.dev/v1alpha1/flatnetnodes/n"), "update");
        assert_eq!(of(Method::PATCH, "/api/v1/nodes/n/status"), "patch");
        assert_eq!(of(Method::DELETE, "/apis/flatnet.dev/v1alpha1/flatnetblocks/b"), "delete");
    }
}
