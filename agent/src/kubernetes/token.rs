//! The token of a pod, which the kubelet writes anew before it ends. kube reads the file again every minute, by the wall
//! clock: where that was set back, it goes on with a token that has ended until the clock has caught up. So one that
//! is refused is read again at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::Instant;
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceExt as _};

/// A token that is refused, although it is new, is not read for every request.
const SELDOM: Duration = Duration::from_secs(5);

/// A way to the API server that adds a token to what goes through.
pub type Way<B> = BoxCloneService<Request<Body>, Response<B>, BoxError>;
type Make<B> = dyn Fn() -> Result<Way<B>, kube::Error> + Send + Sync;

/// A way that is made anew when the API server does not take its token.
pub struct Renewing<B> {
    make: Arc<Make<B>>,
    current: Arc<Mutex<(Way<B>, Instant)>>,
}

impl<B> Renewing<B> {
    /// `make` reads the token.
    pub fn new(
        make: impl Fn() -> Result<Way<B>, kube::Error> + Send + Sync + 'static,
    ) -> Result<Self, kube::Error> {
        let current = Arc::new(Mutex::new((make()?, Instant::now())));
        Ok(Self { make: Arc::new(make), current })
    }

    fn way(&self) -> Way<B> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn renew(make: &Make<B>, current: &Mutex<(Way<B>, Instant)>) {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() < SELDOM {
            return;
        }
        current.1 = Instant::now();
        match make() {
            Ok(way) => current.0 = way,
            Err(error) => log::debug!("reading the token again: {error}"),
        }
    }
}

impl<B: Send + 'static> Service<Request<Body>> for Renewing<B> {
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let way = self.way();
        let (make, current) = (Arc::clone(&self.make), Arc::clone(&self.current));
        Box::pin(async move {
            let answer = way.oneshot(request).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                Self::renew(make.as_ref(), &current);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::Config;
    use kube::client::ConfigExt as _;
    use tower::{ServiceBuilder, service_fn};

    use super::*;

    /// A server that takes one token.
    async fn answer(request: Request<Body>) -> Result<Response<()>, BoxError> {
        let token = request.headers().get("authorization").map(|value| value.as_bytes());
        let taken = token == Some(b"Bearer new");
        Ok(Response::builder().status(if taken { 200 } else { 401 }).body(())?)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_read_again_but_not_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "old").unwrap();
        let mut config = Config::new("https://192.0.2.1".parse().unwrap());
        config.auth_info.token_file = Some(file.to_str().unwrap().to_owned());
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let make = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let way = ServiceBuilder::new().option_layer(config.auth_layer()?);
            Ok(BoxCloneService::new(way.service(service_fn(answer))))
        };
        let mut way = Renewing::new(make).unwrap();
        let mut ask = async || way.call(Request::new(Body::empty())).await.unwrap().status();
        let reads = || reads.load(Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(ask().await, 401);
        }
        assert_eq!(reads(), 1, "it was read just now");
        tokio::time::advance(SELDOM).await;
        for _ in 0..10 {
            assert_eq!(ask().await, 401);
        }
        assert_eq!(reads(), 2, "once in a while");
        fs::write(&file, "new").unwrap();
        assert_eq!(ask().await, 401, "kube keeps what it has read");
        tokio::time::advance(SELDOM).await;
        assert_eq!(ask().await, 401);
        assert_eq!(ask().await, 200);
        tokio::time::advance(SELDOM).await;
        fs::remove_file(&file).unwrap();
        assert_eq!(ask().await, 200);
        assert_eq!(reads(), 3, "one that is taken is not read again");
    }
}
