//! The lease that the keys of this node hang on. It is renewed long before it runs out; with a node that is gone
//! for good it does, and etcd forgets the node by itself.
//!
//! It is found again from the node's own key: after a restart of the agent, and where two agents of one name
//! began at once. Own keys that hang on another lease, or on none as those that were imported, are hung on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Code;

use super::client::{Answers, Client, Failure, GRANT, KEEP_ALIVE, TXN};
use super::keys::Keys;
use super::state::{Own, Shared};
use super::wire::{
    Compare, LeaseGrantRequest, LeaseRequest, LeaseResponse, Operation, PutRequest, TxnRequest,
    TxnResponse,
};
use crate::backoff::random;
use crate::turns::delay;

/// It is renewed at least so often, so that `list` shows which agents live.
pub const RENEWAL: Duration = Duration::from_secs(10 * 60);
/// Between two looks at own keys.
const PAUSE: Duration = Duration::from_millis(500);
/// For the first answer of a stream.
const ANSWER: Duration = Duration::from_secs(4);

/// The lease of a node.
pub struct Lease {
    client: Client,
    shared: Arc<Shared>,
    own_key: Vec<u8>,
    /// How many seconds it is to live.
    ttl: i64,
    /// 0 as long as there is none.
    id: Mutex<i64>,
}

impl Lease {
    /// Of the node of this name. It is granted when it is first needed.
    pub fn new(client: Client, shared: Arc<Shared>, keys: &Keys, node: &str, ttl: i64) -> Self {
        Self { client, shared, own_key: keys.node(node), ttl, id: Mutex::new(0) }
    }

    /// The lease, which lives.
    pub async fn id(&self) -> Result<i64, Failure> {
        let mut id = self.id.lock().await;
        let said = self
            .shared
            .state()
            .objects
            .as_ref()
            .map_or(0, |objects| objects.own().get(&self.own_key).map_or(0, |own| own.lease));
        if said != *id && said != 0 && keep_alive(&self.client, said).await? == Some(self.ttl) {
            *id = said;
        }
        if *id == 0 {
            let request = LeaseGrantRequest { ttl: self.ttl };
            let granted: LeaseResponse = self.client.ask(GRANT, request).await?;
            *id = granted.id;
        }
        Ok(*id)
    }

    /// etcd has no such lease. Whoever finds that out first says so.
    pub async fn lost(&self, lost: i64) {
        let mut id = self.id.lock().await;
        if *id == lost {
            log::warn!(
                "this node's lease in etcd has run out, or was revoked: etcd has forgotten where it is and which \
                 ranges it has; they are claimed again"
            );
            *id = 0;
        }
    }

    /// Renews it, and hangs own keys on it, for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        let mut next = Instant::now();
        loop {
            let kept = match Instant::now() >= next {
                true => self.renew().await,
                false => self.hang().await,
            };
            let doing = "renewing this node's lease in etcd";
            let trouble = kept.as_ref().err().map(|failure| failure.trouble(doing));
            self.shared.trouble("lease", trouble);
            if kept.is_err() {
                sleep(delay(failures, random())).await;
                failures = failures.saturating_add(1);
                continue;
            }
            if Instant::now() >= next {
                next = Instant::now() + interval(self.ttl).mul_f64(0.8 + 0.2 * random());
            }
            failures = 0;
            // Own keys that change for ever, as two agents of one name would have it, are not followed as fast.
            sleep(PAUSE).await;
            let _ = timeout_at(next, self.shared.own.notified()).await;
        }
    }

    async fn renew(&self) -> Result<(), Failure> {
        let id = *self.id.lock().await;
        if id != 0 && keep_alive(&self.client, id).await?.is_none() {
            self.lost(id).await;
        }
        self.hang().await
    }

    /// Hangs own keys on the lease.
    async fn hang(&self) -> Result<(), Failure> {
        let own = self.shared.state().objects.as_ref().map(|objects| objects.own().clone());
        let own = own.unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        let id = self.id().await?;
        for (key, Own { value, lease, modified }) in own {
            if lease == id {
                continue;
            }
            let put = PutRequest { key: key.clone(), value, lease: id };
            let txn = TxnRequest {
                compare: vec![Compare::is_unchanged(key.clone(), modified)],
                success: vec![Operation::Put(put).into()],
                failure: Vec::new(),
            };
            let done: TxnResponse = match self.client.ask(TXN, txn).await {
                Err(failure) if failure.code() == Some(Code::NotFound) => {
                    self.lost(id).await;
                    return Err(failure);
                }
                done => done?,
            };
            // Of what another has changed meanwhile the watch tells.
            if let (true, Some(header)) = (done.succeeded, done.header) {
                self.shared.change(|state| {
                    if let Some(objects) = &mut state.objects {
                        objects.hung(&key, id, header.revision);
                    }
                    false
                });
            }
        }
        Ok(())
    }
}

/// Renews a lease; how many seconds it lives from now on, if it is one.
pub async fn keep_alive(client: &Client, id: i64) -> Result<Option<i64>, Failure> {
    let mut answers: Answers<LeaseResponse> =
        client.stream(KEEP_ALIVE, LeaseRequest { id }).await?;
    let first = timeout(ANSWER, answers.next()).await;
    let first = first.unwrap_or_else(|_| Err(Failure::Unreachable("no answer in time".to_owned())));
    let first = first?.ok_or(Failure::Nonsense("no answer about a lease"))?;
    Ok(Some(first.ttl).filter(|ttl| *ttl > 0))
}

/// How often a lease of so many seconds is renewed.
pub fn interval(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs() / 4).min(RENEWAL)
}
