//! The watch of all objects of a kind: a list, and from then on what changes.
//!
//! Where the server can, the list comes as events of the watch, one after the other. Else it is a list in pages,
//! of what the server has in memory the first time (`resourceVersion=0`: nodes of a whole cluster ask for it),
//! and of what etcd has when it is to replace one that was newer.
//!
//! A watch that broke off goes on where it was, if etcd is the one that it was. One that was restored from an older copy
//! would take a watch from a version that it has not reached, and keep silent until it has. So the version that it has is
//! asked for before: with a list of one name, as all nodes of a cluster ask for it at one time.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use kube::Client;
use kube::core::WatchEvent;
use kube::core::watch::Bookmark;
use serde::Deserialize;
use tokio::time::Instant;

use super::ask::{self, Failure, Watch, seconds, value};
use super::seen::{Kind, Seen};
use super::state::{Kept, Shared, State};
use crate::backoff::random;
use crate::turns::spread;
use crate::watching::Watched;

/// The bookmark with which the objects that were there before the watch are complete.
const COMPLETE: &str = "k8s.io/initial-events-end";
/// Between two objects that were there before the watch.
const STALLED: Duration = Duration::from_secs(60);
/// A server without the feature says that the parameter is invalid.
const INVALID: u16 = 422;
const EXPIRED: u16 = 410;

/// A kind of objects, and up to where it is known.
pub struct AllOf<T> {
    client: Client,
    shared: Arc<Shared>,
    node: String,
    /// Which of them, as a part of each query.
    selector: String,
    kept: fn(&mut State) -> &mut Option<Kept<T>>,
    /// From where a watch goes on.
    version: Option<String>,
    /// Whether the server sends lists as events, as far as it has not said no.
    streams: bool,
    /// Objects that are known, but not yet that they are all.
    gathered: Option<Kept<T>>,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Seen>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct PageMetadata {
    resource_version: String,
    r#continue: String,
}

impl<T: Kind> AllOf<T> {
    /// `node` is whose are the own ones, `selector` what a query for them has, and `kept` where they go.
    pub fn new(
        client: Client,
        shared: Arc<Shared>,
        node: &str,
        selector: String,
        kept: fn(&mut State) -> &mut Option<Kept<T>>,
    ) -> AllOf<T> {
        let node = node.to_owned();
        AllOf { client, shared, node, selector, kept, version: None, streams: true, gathered: None }
    }

    /// How many are known; `None` before the first list.
    fn known(&self) -> Option<usize> {
        (self.kept)(&mut self.shared.state()).as_ref().map(Kept::len)
    }

    /// What was gathered takes the place of what was known.
    fn complete(&mut self, gathered: Kept<T>) {
        let kept = self.kept;
        self.shared.change(|state| {
            let known = kept(state);
            let news = known.as_ref() != Some(&gathered);
            *known = Some(gathered);
            news
        });
    }

    /// A change of what is known, or of what is gathered.
    fn put(&mut self, change: impl FnOnce(&mut Kept<T>) -> bool) {
        match &mut self.gathered {
            Some(gathered) => {
                change(gathered);
            }
            None => {
                let kept = self.kept;
                self.shared.change(|state| kept(state).as_mut().is_some_and(change));
            }
        }
    }

    /// Whether etcd is the one that it was at this version, as far as is known: it has come as far, and has the own object.
    /// An older copy may have come as far meanwhile. Who has made or deleted his object in this moment lists in vain.
    async fn goes_on(&self, version: &str) -> Result<bool, Failure> {
        let own = (self.kept)(&mut self.shared.state()).as_ref().and_then(Kept::own);
        let name = own.as_ref().map_or(self.node.as_str(), |(name, _)| name);
        let uri = format!("{}?limit=1&fieldSelector=metadata.name%3D{}", T::PATH, value(name)?);
        let now: Page = ask::ask(&self.client, Method::GET, &uri, ask::WHOLE, None).await?;
        let has = |uid: &str| now.items.iter().any(|seen| seen.metadata.uid == uid);
        Ok(!is_before(&now.metadata.resource_version, version)
            && own.is_none_or(|(_, uid)| has(&uid)))
    }

    fn went_back(&mut self) {
        log::warn!(
            "{}: the store is not as far as it was, or another: all are listed again",
            T::NAME
        );
        self.shared.state().went_back = Some(Instant::now());
        self.version = None;
    }

    async fn list(&mut self, from: &str) -> Result<String, Failure> {
        let mut all = Kept::none_of(&self.node);
        let mut place = String::new();
        loop {
            let page: Page =
                ask::list(&self.client, &list_uri(T::PATH, &self.selector, from, &place)?).await?;
            for seen in &page.items {
                all.put(seen);
            }
            if page.metadata.r#continue.is_empty() {
                self.complete(all);
                return Ok(page.metadata.resource_version);
            }
            place = page.metadata.r#continue;
        }
    }

    /// What is said of an event; whether the watch is any use.
    fn apply(&mut self, event: WatchEvent<Seen>) -> Result<(), Failure> {
        match event {
            WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                self.put(|kept| kept.put(&seen));
                self.reached(seen.metadata.resource_version);
            }
            WatchEvent::Deleted(seen) => {
                self.put(|kept| kept.remove(&seen));
                self.reached(seen.metadata.resource_version);
            }
            WatchEvent::Bookmark(mark) => return self.mark(mark),
            WatchEvent::Error(response) => return Err(Failure::Refused(response)),
        }
        Ok(())
    }

    fn mark(&mut self, mark: Bookmark) -> Result<(), Failure> {
        if let Some(gathered) = self.gathered.take() {
            if !mark.metadata.annotations.contains_key(COMPLETE) {
                self.streams = false;
                return Err(Failure::Nonsense("a list as events that never ends".to_owned()));
            }
            self.complete(gathered);
        }
        self.reached(mark.metadata.resource_version);
        Ok(())
    }

    /// Not from the midst of a list: what is missing there would never come.
    fn reached(&mut self, version: String) {
        if self.gathered.is_none() {
            self.version = Some(version);
        }
    }
}

impl<T: Kind> Watched for AllOf<T> {
    type Watch = Watch;
    type Failure = Failure;

    fn name(&self) -> &str {
        T::NAME
    }

    fn begun(&self, failure: Option<&Failure>) {
        self.shared.trouble(T::NAME, failure);
    }

    fn is_refusal(failure: &Failure) -> bool {
        failure.code().is_some()
    }

    async fn begin(&mut self) -> Result<Watch, Failure> {
        self.gathered = None;
        match &self.version {
            Some(version) if self.goes_on(version).await? => {
                let uri = watch_uri(T::PATH, &self.selector, version, seconds())?;
                let begun = ask::watch(&self.client, &uri, ask::WHOLE).await;
                if !begun.as_ref().is_err_and(|failure| failure.code() == Some(EXPIRED)) {
                    return begun;
                }
                self.version = None;
            }
            Some(_) => self.went_back(),
            None => {}
        }
        let known = self.known();
        if let Some(objects) = known {
            tokio::time::sleep(spread(objects, random())).await;
        }
        let from = if known.is_none() { "0" } else { "" };
        if self.streams {
            let uri = format!("{}{STREAM}", watch_uri(T::PATH, &self.selector, from, seconds())?);
            let begun = ask::watch(&self.client, &uri, ask::WHOLE).await;
            if !begun.as_ref().is_err_and(|failure| failure.code() == Some(INVALID)) {
                self.gathered = begun.is_ok().then(|| Kept::none_of(&self.node));
                return begun;
            }
            self.streams = false;
        }
        let version = self.list(from).await?;
        let uri = watch_uri(T::PATH, &self.selector, &version, seconds())?;
        self.version = Some(version);
        ask::watch(&self.client, &uri, ask::WHOLE).await
    }

    async fn follow(&mut self, mut watch: Watch) -> Result<(), Failure> {
        loop {
            let event = match self.gathered {
                None => watch.next().await,
                Some(_) => tokio::time::timeout(STALLED, watch.next())
                    .await
                    .unwrap_or(Err(Failure::Silent)),
            };
            let end = match event {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.apply(event),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = end {
                if failure.code() == Some(EXPIRED) {
                    self.version = None;
                }
                return Err(failure);
            }
        }
    }
}

/// Whether a version is from before another. Both are revisions of the etcd that has the kind: whole numbers that grow, which
/// Kubernetes 1.35 promises of every API server (KEP-5504). What is no number says nothing.
fn is_before(version: &str, other: &str) -> bool {
    let both = version.parse::<u64>().ok().zip(other.parse::<u64>().ok());
    both.is_some_and(|(version, other)| version < other)
}

/// All objects first, as events, then the bookmark.
const STREAM: &str = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

fn watch_uri(path: &str, selector: &str, version: &str, seconds: u64) -> Result<String, Failure> {
    let version = value(version)?;
    Ok(format!(
        "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}{selector}"
    ))
}

/// A version is for the first page only; the others are of the same.
fn list_uri(path: &str, selector: &str, version: &str, place: &str) -> Result<String, Failure> {
    let (version, place) = (value(version)?, value(place)?);
    Ok(match place {
        "" => format!("{path}?limit=500&resourceVersion={version}{selector}"),
        place => format!("{path}?limit=500&continue={place}{selector}"),
    })
}

#[cfg(test)]
mod tests;
