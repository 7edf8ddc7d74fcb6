//! The watch of all keys of a network: a list, and from then on what changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::client::{Answers, Client, Failure, RANGE, WATCH};
use super::keys::Keys;
use super::list::list;
use super::state::{Objects, Own, Shared};
use super::wire::{
    Event, EventType, Header, KeyValue, RangeRequest, RangeResponse, WatchCreateRequest,
    WatchRequest, WatchResponse, end_of,
};
use crate::backoff::random;
use crate::turns::spread;
use crate::watching::Watched;

/// For a watch to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// All keys, and up to where they are known.
pub struct Follower {
    client: Client,
    shared: Arc<Shared>,
    keys: Keys,
    node: String,
    known: Option<Header>,
}

impl Follower {
    /// `node` is whose are the own ones.
    pub fn new(client: Client, shared: Arc<Shared>, keys: Keys, node: &str) -> Self {
        Self { client, shared, keys, node: node.to_owned(), known: None }
    }

    /// Lists all. Those that were known before make way.
    async fn list(&mut self) -> Result<Header, Failure> {
        let known = self.shared.state().objects.as_ref().map(Objects::len);
        // Who lost its place did so with all other nodes.
        sleep(spread(known.unwrap_or_default(), random())).await;
        let mut all = Objects::none_of(&self.keys, &self.node);
        let header = list(&self.client, self.keys.prefix(), |kv| {
            all.put(kv);
        })
        .await?;
        self.shared.change(|state| {
            let news = state.objects.as_ref() != Some(&all);
            state.objects = Some(all);
            news
        });
        Ok(header)
    }

    /// Whether the store has what it had at a moment, as far as that is known: the own key, on its lease, which no other
    /// store has. A new one may have come as far meanwhile.
    async fn remembers(&self, known: Header) -> Result<bool, Failure> {
        let key = self.keys.node(&self.node);
        let own = self.shared.state().objects.as_ref().and_then(|all| all.own().get(&key).cloned());
        let Some(own) = own.filter(|own| own.modified <= known.revision) else { return Ok(true) };
        let request = RangeRequest { key, revision: known.revision, ..RangeRequest::default() };
        match self.client.ask::<_, RangeResponse>(RANGE, request).await {
            Ok(answer) => Ok(answer.kvs.first().is_some_and(|kv| is_same(kv, &own))),
            // It was compacted since, or is not there yet: the watch tells.
            Err(failure) if failure.code() == Some(Code::OutOfRange) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    fn went_back(&mut self) {
        log::warn!("etcd is not as far as it was, or another: all is listed again");
        self.shared.state().went_back = Some(Instant::now());
        self.known = None;
    }

    /// A watch from a moment on; `None` where the store does not go on from it: it has been restored from a copy, or
    /// the member is behind the others. What is there now is to be asked for then, which all members answer alike.
    async fn watch(&self, known: Header) -> Result<Option<Answers<WatchResponse>>, Failure> {
        let create = WatchCreateRequest {
            key: self.keys.prefix().into(),
            range_end: end_of(self.keys.prefix().as_bytes()),
            start_revision: known.revision + 1,
            progress_notify: true,
            fragment: true,
        };
        let request = WatchRequest { create: Some(create) };
        let mut watch: Answers<WatchResponse> = self.client.stream(WATCH, request).await?;
        let first = timeout(BEGIN, watch.next()).await;
        let silent = |_| Err(Failure::Unreachable("no answer in time".to_owned()));
        let first = first.unwrap_or_else(silent)?;
        let first = first.ok_or(Failure::Nonsense("a watch that ends before it begins"))?;
        if let Some(failure) = canceled(&first) {
            watch.renew().await;
            return Err(failure);
        }
        let goes_on = first.compact_revision == 0
            && first.header.is_none_or(|header| !is_another(&known, &header));
        Ok(goes_on.then_some(watch))
    }

    fn apply(&self, events: Vec<Event>) {
        self.shared.change(|state| {
            let Some(objects) = &mut state.objects else { return false };
            let mut news = false;
            for event in events {
                let gone = event.r#type == EventType::Delete as i32;
                let Some(kv) = event.kv else { continue };
                news |= if gone { objects.remove(&kv.key) } else { objects.put(kv) };
            }
            news
        });
    }
}

impl Watched for Follower {
    type Watch = Answers<WatchResponse>;
    type Failure = Failure;

    fn name(&self) -> &str {
        self.keys.prefix()
    }

    fn begun(&self, failure: Option<&Failure>) {
        let doing = format!("reading {} of etcd", self.keys.prefix());
        self.shared.trouble("watch", failure.map(|failure| failure.trouble(&doing)));
    }

    fn is_refusal(failure: &Failure) -> bool {
        failure.code().is_some()
    }

    async fn begin(&mut self) -> Result<Self::Watch, Failure> {
        loop {
            let known = match self.known {
                Some(known) if self.remembers(known).await? => known,
                Some(_) => {
                    self.went_back();
                    continue;
                }
                None => self.list().await?,
            };
            self.known = Some(known);
            if let Some(watch) = self.watch(known).await? {
                return Ok(watch);
            }
            self.went_back();
        }
    }

    async fn follow(&mut self, mut watch: Self::Watch) -> Result<(), Failure> {
        while let Some(answer) = watch.next().await? {
            if answer.compact_revision != 0 {
                self.known = None;
                return Ok(());
            }
            if let Some(failure) = canceled(&answer) {
                watch.renew().await;
                return Err(failure);
            }
            self.known = reached(&answer).or(self.known);
            self.apply(answer.events);
        }
        Ok(())
    }
}

/// Up to where all is known after an answer. One that comes late has the store's revision in its header, and events up
/// to an earlier one: the others are still to come.
fn reached(answer: &WatchResponse) -> Option<Header> {
    let header = answer.header.filter(|_| !answer.fragment)?;
    let last = answer.events.last().and_then(|event| event.kv.as_ref());
    let revision = last.map_or(header.revision, |kv| kv.mod_revision);
    Some(Header { revision, ..header })
}

fn is_same(kv: &KeyValue, own: &Own) -> bool {
    (kv.mod_revision, kv.lease) == (own.modified, own.lease)
}

/// Whether it does not go on from what was known.
fn is_another(known: &Header, now: &Header) -> bool {
    known.cluster_id != now.cluster_id || known.revision > now.revision
}

/// Why a watch was ended, if it was: it has no code of its own.
fn canceled(answer: &WatchResponse) -> Option<Failure> {
    let message = answer.cancel_reason.clone();
    let ended = answer.canceled && answer.compact_revision == 0;
    ended.then_some(Failure::Refused { code: Code::PermissionDenied, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_went_back_is_another() {
        let at = |cluster_id, revision| Header { cluster_id, revision };
        assert!(!is_another(&at(1, 7), &at(1, 7)));
        assert!(!is_another(&at(1, 7), &at(1, 9)));
        assert!(is_another(&at(1, 7), &at(1, 6)));
        assert!(is_another(&at(1, 7), &at(2, 9)));
    }

    #[test]
    fn a_watch_goes_on_behind_its_last_event() {
        let header = Some(Header { cluster_id: 1, revision: 9 });
        let kv = Some(KeyValue { mod_revision: 7, ..KeyValue::default() });
        let events = vec![Event { r#type: 0, kv }];
        let progress = WatchResponse { header, ..WatchResponse::default() };
        let late = WatchResponse { events, ..progress.clone() };
        let part = WatchResponse { fragment: true, ..late.clone() };
        let revision = |answer| reached(&answer).map(|header| header.revision);
        assert_eq!(revision(progress), Some(9));
        assert_eq!(revision(late), Some(7));
        assert_eq!(revision(part), None, "more of the same revision follows");
    }

    #[test]
    fn a_watch_that_was_ended_says_why() {
        let ended = WatchResponse {
            canceled: true,
            cancel_reason: "etcdserver: permission denied".to_owned(),
            ..WatchResponse::default()
        };
        assert_eq!(canceled(&ended).unwrap().to_string(), "etcdserver: permission denied");
        assert!(canceled(&WatchResponse { compact_revision: 5, ..ended }).is_none());
        assert!(canceled(&WatchResponse::default()).is_none());
    }
}
