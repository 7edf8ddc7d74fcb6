//! Requests to etcd. They all go to one member as long as it answers, then to the next; each can be sent twice
//! without harm.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::ready;
use futures_util::stream::{once, pending};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::access::Members;
use super::codes::http;
use super::wire::{AuthenticateRequest, AuthenticateResponse};
use crate::backoff::random;
use crate::causes::chain;
use crate::requests::Requests;

/// For one member to answer.
const ANSWER: Duration = Duration::from_secs(4);
/// Of one answer. A page of keys that is longer is asked for in shorter ones.
const LONGEST: usize = 16 << 20;

/// A request's name.
pub type Method = (&'static str, &'static str);
pub const RANGE: Method = ("range", "/etcdserverpb.KV/Range");
pub const PUT: Method = ("put", "/etcdserverpb.KV/Put");
pub const TXN: Method = ("txn", "/etcdserverpb.KV/Txn");
pub const WATCH: Method = ("watch", "/etcdserverpb.Watch/Watch");
pub const GRANT: Method = ("lease_grant", "/etcdserverpb.Lease/LeaseGrant");
pub const REVOKE: Method = ("lease_revoke", "/etcdserverpb.Lease/LeaseRevoke");
pub const KEEP_ALIVE: Method = ("lease_keep_alive", "/etcdserverpb.Lease/LeaseKeepAlive");
pub const TIME_TO_LIVE: Method = ("lease_time_to_live", "/etcdserverpb.Lease/LeaseTimeToLive");
pub const ALARM: Method = ("alarm", "/etcdserverpb.Maintenance/Alarm");
const AUTHENTICATE: Method = ("authenticate", "/etcdserverpb.Auth/Authenticate");

/// Why there was no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// etcd says no.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        code: Code,
        /// etcd's own words.
        message: String,
    },
    /// No member answers, or none that one may trust.
    #[error("{0}")]
    Unreachable(String),
    /// It says what is not understood.
    #[error("not understood: {0}")]
    Nonsense(&'static str),
}

impl Failure {
    /// What kind of refusal it is.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The failure in a sentence, for those who are to know what keeps the agent from etcd; `doing` is what was tried.
    /// An etcd that cannot be reached is the same trouble whatever was tried.
    pub fn trouble(&self, doing: &str) -> String {
        match self {
            Self::Unreachable(why) => format!("asking etcd: {why}"),
            other => format!("{doing}: {other}"),
        }
    }

    /// What keeps each member from answering, in words that are the same whichever was tried first.
    fn unreachable(mut members: Vec<String>) -> Self {
        members.sort_unstable();
        Self::Unreachable(members.join("; "))
    }

    fn refused(status: &Status) -> Self {
        Self::Refused { code: status.code(), message: status.message().to_owned() }
    }
}

/// A client. Clones share their connection.
#[derive(Clone)]
pub struct Client {
    members: Arc<Members>,
    link: Arc<Mutex<Link>>,
    requests: Arc<Requests>,
}

/// The connection, if there is one.
struct Link {
    way: Option<Way>,
    /// Which member is tried next.
    next: usize,
    /// How many there have been.
    count: u64,
}

/// The way to a member.
#[derive(Clone)]
struct Way {
    number: u64,
    member: String,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// What one request has tried.
#[derive(Default)]
struct Tried {
    silent: Vec<String>,
    renewed: bool,
}

impl Client {
    /// Connects when it is first asked something. Which member is the first is left to chance, so that nodes
    /// spread over all.
    pub fn new(members: Members) -> Self {
        let next = (random() * members.uris.len() as f64) as usize;
        let link = Arc::new(Mutex::new(Link { way: None, next, count: 0 }));
        Self { members: Arc::new(members), link, requests: Arc::default() }
    }

    /// What was asked so far.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// One request, and its answer.
    pub async fn ask<Q, A>(&self, method: Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let send = |way| unary::<Q, A>(way, method, request.clone());
        let (answer, _) = self.answered(method, send).await?;
        self.requests.receive(answer.encoded_len());
        Ok(answer)
    }

    /// Begins a request whose answers come one after the other; it stays open.
    pub async fn stream<Q, A>(&self, method: Method, request: Q) -> Result<Answers<A>, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let send = |way| streaming(way, method, request.clone());
        let (answers, Way { number, member, .. }) = self.answered(method, send).await?;
        Ok(Answers { answers, number, member, client: self.clone(), method })
    }

    /// Sends a request until there is an answer, or none is to be expected; also which way that came.
    async fn answered<T, F>(
        &self,
        method: Method,
        send: impl Fn(Way) -> F,
    ) -> Result<(T, Way), Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut tried = Tried::default();
        loop {
            let way = self.way().await?;
            match in_time(send(way.clone())).await {
                Ok(answer) => {
                    self.requests.answer(method.0, http(Code::Ok));
                    return Ok((answer, way));
                }
                Err(status) => self.failed(&mut tried, method, &way, &status).await?,
            }
        }
    }

    /// A request has failed: whether it is to be sent again, to another member or with a new token. Every member
    /// may try.
    async fn failed(
        &self,
        tried: &mut Tried,
        method: Method,
        way: &Way,
        status: &Status,
    ) -> Result<(), Failure> {
        if is_of_member(status) {
            self.requests.answer(method.0, 0);
            tried.silent.push(format!("{}: {}", way.member, self.reason(&way.member, status)));
            self.leave(way.number, 1).await;
            return match tried.silent.len() < self.members.uris.len() {
                true => Ok(()),
                false => Err(Failure::unreachable(mem::take(&mut tried.silent))),
            };
        }
        self.requests.answer(method.0, http(status.code()));
        if is_stale(status) && way.token.is_some() && !tried.renewed {
            tried.renewed = true;
            self.leave(way.number, 0).await;
            return Ok(());
        }
        Err(Failure::refused(status))
    }

    /// The way to a member that answers.
    async fn way(&self) -> Result<Way, Failure> {
        let mut link = self.link.lock().await;
        if let Some(way) = &link.way {
            return Ok(way.clone());
        }
        let mut silent = Vec::new();
        for _ in &self.members.uris {
            let uri = &self.members.uris[link.next % self.members.uris.len()];
            let number = link.count + 1;
            match self.connect(uri, number).await {
                Ok(way) => {
                    (link.count, link.way) = (number, Some(way.clone()));
                    return Ok(way);
                }
                Err(Failure::Unreachable(why)) => {
                    silent.push(format!("{uri}: {why}"));
                    link.next += 1;
                }
                Err(refused) => return Err(refused),
            }
        }
        Err(Failure::unreachable(silent))
    }

    async fn connect(&self, uri: &tonic::transport::Uri, number: u64) -> Result<Way, Failure> {
        let endpoint = self.members.endpoint(uri).map_err(Failure::Unreachable)?;
        let connected = timeout(ANSWER, endpoint.connect()).await;
        let connected = connected.map_err(|_| Failure::Unreachable("no answer in time".to_owned()));
        let why = |e| Failure::Unreachable(self.members.explain(&uri.to_string(), chain(&e)));
        let channel = connected?.map_err(why)?;
        let mut way = Way { number, member: uri.to_string(), channel, token: None };
        if let Some((name, password)) = self.members.user.clone() {
            let request = AuthenticateRequest { name, password };
            let answered = in_time(unary(way.clone(), AUTHENTICATE, request)).await;
            let code = answered.as_ref().err().map_or(Code::Ok, Status::code);
            self.requests.answer(AUTHENTICATE.0, http(code));
            let answer: AuthenticateResponse =
                answered.map_err(|status| match is_of_member(&status) {
                    true => Failure::Unreachable(self.reason(&way.member, &status)),
                    false => Failure::refused(&status),
                })?;
            let token = answer.token.parse();
            way.token =
                Some(token.map_err(|_| Failure::Nonsense("a token with other than letters"))?);
        }
        Ok(way)
    }

    /// In etcd's words, or in those of what broke off.
    fn reason(&self, member: &str, status: &Status) -> String {
        match std::error::Error::source(status) {
            Some(source) => self.members.explain(member, chain(source)),
            None => status.message().to_owned(),
        }
    }

    /// Takes no more this way: to the member that comes so many behind it next time.
    async fn leave(&self, number: u64, behind: usize) {
        let mut link = self.link.lock().await;
        if link.way.as_ref().is_some_and(|way| way.number == number) {
            link.way = None;
            link.next = link.next.wrapping_add(behind);
        }
    }
}

/// Answers that come one after the other.
pub struct Answers<A> {
    answers: Streaming<A>,
    number: u64,
    member: String,
    client: Client,
    method: Method,
}

impl<A: Message + Default + 'static> Answers<A> {
    /// The next; `None` where the member ends it.
    pub async fn next(&mut self) -> Result<Option<A>, Failure> {
        match self.answers.message().await {
            Ok(answer) => {
                let length = answer.as_ref().map_or(0, Message::encoded_len);
                self.client.requests.receive(length);
                Ok(answer)
            }
            Err(status) if is_of_member(&status) => {
                self.client.requests.answer(self.method.0, 0);
                self.client.leave(self.number, 1).await;
                Err(Failure::Unreachable(self.client.reason(&self.member, &status)))
            }
            Err(status) => {
                self.client.requests.answer(self.method.0, http(status.code()));
                if is_stale(&status) {
                    self.renew().await;
                }
                Err(Failure::refused(&status))
            }
        }
    }

    /// What is asked next is asked with a new token.
    pub async fn renew(&self) {
        self.client.leave(self.number, 0).await;
    }
}

/// What takes longer has failed.
async fn in_time<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let done = timeout(ANSWER, work).await;
    done.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

fn grpc(way: &Way) -> Grpc<Channel> {
    Grpc::new(way.channel.clone()).max_decoding_message_size(LONGEST)
}

fn with_token<T>(way: &Way, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = &way.token {
        request.metadata_mut().insert("authorization", token.clone());
    }
    request
}

async fn unary<Q, A>(way: Way, method: Method, request: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let (path, codec) = (PathAndQuery::from_static(method.1), ProstCodec::<Q, A>::default());
    let mut grpc = grpc(&way);
    grpc.ready().await.map_err(|e| Status::unavailable(chain(&e)))?;
    let answer = grpc.unary(with_token(&way, request), path, codec).await?;
    Ok(answer.into_inner())
}

async fn streaming<Q, A>(way: Way, method: Method, request: Q) -> Result<Streaming<A>, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let (path, codec) = (PathAndQuery::from_static(method.1), ProstCodec::<Q, A>::default());
    let mut request = with_token(&way, once(ready(request)).chain(pending()));
    // A member that is cut off from the others says so, instead of nothing.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut grpc = grpc(&way);
    grpc.ready().await.map_err(|e| Status::unavailable(chain(&e)))?;
    Ok(grpc.streaming(request, path, codec).await?.into_inner())
}

/// Whether another member may answer.
fn is_of_member(status: &Status) -> bool {
    let cut = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
    // Of what broke off on the way there is no code.
    cut || (status.code() == Code::Unknown && std::error::Error::source(status).is_some())
}

/// Whether the token has run out, or users have changed since: simple tokens live for five minutes.
fn is_stale(status: &Status) -> bool {
    let words = status.message();
    words.contains("invalid auth token") || words.contains("revision in auth store is old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_member_may_answer() {
        for status in [
            Status::unavailable("etcdserver: no leader"),
            Status::deadline_exceeded("no answer in time"),
            Status::from_error(Box::new(std::io::Error::other("broken pipe"))),
        ] {
            assert!(is_of_member(&status), "{status:?}");
        }
        for status in [
            Status::permission_denied("etcdserver: permission denied"),
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
            Status::unauthenticated("etcdserver: invalid auth token"),
            Status::unknown("etcdserver: something"),
        ] {
            assert!(!is_of_member(&status), "{status:?}");
        }
        assert!(is_stale(&Status::unauthenticated("etcdserver: invalid auth token")));
        assert!(!is_stale(&Status::permission_denied("etcdserver: permission denied")));
    }
}
