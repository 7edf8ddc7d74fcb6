//! Changes of own keys, each a transaction: on the condition that the key is as it was when it was looked at.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use tonic::Code;

use super::client::{Client, Failure, PUT, RANGE, TXN};
use super::keys::{Entry, Keys, block_value, node_value};
use super::lease::Lease;
use super::wire::{
    Compare, DeleteRangeRequest, Done, KeyValue, Operation, PutRequest, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse,
};
use crate::cluster::BlockEntry;
use crate::source::{Deed, Refusal};

/// Whose deeds these are.
pub struct Doer<'a> {
    pub client: &'a Client,
    pub lease: &'a Lease,
    pub keys: &'a Keys,
    pub node: &'a str,
}

/// What was tried, on which key, and what came of it.
fn failed(what: &str, key: &[u8], failure: &Failure) -> Refusal {
    let key = String::from_utf8_lossy(key);
    let hint = match failure.code() {
        Some(Code::ResourceExhausted) => {
            " (its quota is full: compact and defragment it, then `etcdctl alarm disarm`)"
        }
        Some(Code::PermissionDenied) => " (the user's role has to let it write there)",
        _ => "",
    };
    Refusal::Failed(format!("{what} {key}: {failure}{hint}"))
}

impl Doer<'_> {
    /// Does it.
    pub async fn carry_out(&self, deed: &Deed) -> Result<(), Refusal> {
        match deed {
            Deed::PutNode { vtep } => {
                let (key, value) = (self.keys.node(self.node), node_value(&vtep.to_string()));
                let put = self.put(&key, value).await;
                put.map_err(|failure| failed("writing", &key, &failure))
            }
            Deed::Claim(range) => self.claim(*range, false).await,
            Deed::Reclaim(range) => self.claim(*range, true).await,
            Deed::Retire(range) => {
                let key = self.keys.block(*range);
                match self.get(&key).await.map_err(|failure| failed("reading", &key, &failure))? {
                    Some(kv) => self.hold(*range, &kv, true).await,
                    None => Err(Refusal::Failed(format!("{range} is not claimed any more"))),
                }
            }
            Deed::Release(range) => self.release(*range).await,
        }
    }

    async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), Failure> {
        self.on_lease(async |lease| {
            let put = PutRequest { key: key.to_vec(), value: value.clone(), lease };
            self.client.ask::<_, Done>(PUT, put).await.map(drop)
        })
        .await
    }

    /// With the node's lease; with another, where that one is no more.
    async fn on_lease<T>(
        &self,
        work: impl AsyncFn(i64) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let lease = self.lease.id().await?;
        match work(lease).await {
            Err(failure) if failure.code() == Some(Code::NotFound) => {
                self.lease.lost(lease).await;
                work(self.lease.id().await?).await
            }
            done => done,
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Failure> {
        let request = RangeRequest { key: key.to_vec(), ..RangeRequest::default() };
        let answer: RangeResponse = self.client.ask(RANGE, request).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// A claim is that the key is made: it exists once. One that names no holder is nobody's claim, but whose it was may
    /// have living pods there: only who had the range (`again`) takes its place.
    async fn claim(&self, range: IpNetwork, again: bool) -> Result<(), Refusal> {
        let (key, value) = (self.keys.block(range), block_value(range, self.node, false));
        let claimed = self
            .on_lease(async |lease| {
                let put = PutRequest { key: key.clone(), value: value.clone(), lease };
                let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
                let txn = TxnRequest {
                    compare: vec![Compare::is_absent(key.clone())],
                    success: vec![Operation::Put(put).into()],
                    failure: vec![Operation::Range(get).into()],
                };
                self.client.ask::<_, TxnResponse>(TXN, txn).await
            })
            .await;
        let answer = claimed.map_err(|failure| failed("making", &key, &failure))?;
        if answer.succeeded {
            return Ok(());
        }
        let found = answer.responses.into_iter().filter_map(|response| response.range);
        match found.flat_map(|range| range.kvs).next() {
            Some(kv) if again && self.block(&kv).is_none_or(|block| block.range.is_err()) => {
                self.set(&kv, value).await
            }
            Some(kv) => self.hold(range, &kv, false).await,
            None => Err(Refusal::Failed(format!("{range} was claimed and given back just now"))),
        }
    }

    fn block(&self, kv: &KeyValue) -> Option<Arc<BlockEntry>> {
        match self.keys.read(kv) {
            Some(Entry::Block(block)) => Some(block),
            _ => None,
        }
    }

    /// A block that is there: whether it is ours, and what it says of itself.
    async fn hold(&self, range: IpNetwork, kv: &KeyValue, retiring: bool) -> Result<(), Refusal> {
        let holder = self.block(kv).map(|block| block.node.clone()).unwrap_or_default();
        if holder != self.node {
            return Err(Refusal::Taken { range, holder });
        }
        let value = block_value(range, self.node, retiring);
        match kv.value == value {
            true => Ok(()),
            false => self.set(kv, value).await,
        }
    }

    /// Says something else in a key, unless somebody else did since it was seen.
    async fn set(&self, kv: &KeyValue, value: Vec<u8>) -> Result<(), Refusal> {
        let changed = self
            .on_lease(async |lease| {
                let put = PutRequest { key: kv.key.clone(), value: value.clone(), lease };
                self.change(kv, Operation::Put(put)).await
            })
            .await;
        changed.map_err(|failure| failed("changing", &kv.key, &failure))
    }

    /// Changes a key, unless somebody else did since it was seen: then it is as if nothing was done.
    async fn change(&self, kv: &KeyValue, operation: Operation) -> Result<(), Failure> {
        let txn = TxnRequest {
            compare: vec![Compare::is_unchanged(kv.key.clone(), kv.mod_revision)],
            success: vec![operation.into()],
            failure: Vec::new(),
        };
        match self.client.ask::<_, TxnResponse>(TXN, txn).await?.succeeded {
            true => Ok(()),
            false => Err(Failure::Refused {
                code: Code::Aborted,
                message: "somebody else has changed it just now".to_owned(),
            }),
        }
    }

    /// One of another node stays: there is nothing of ours to give back.
    async fn release(&self, range: IpNetwork) -> Result<(), Refusal> {
        let key = self.keys.block(range);
        let released = async {
            let Some(kv) = self.get(&key).await? else { return Ok(()) };
            match self.block(&kv).is_some_and(|block| block.node == self.node) {
                true => {
                    let delete = DeleteRangeRequest { key: key.clone() };
                    self.change(&kv, Operation::Delete(delete)).await
                }
                false => Ok(()),
            }
        };
        released.await.map_err(|failure| failed("deleting", &key, &failure))
    }
}
