//! The messages of etcd's API (version 3) that are needed, by the numbers of their fields in etcd's `rpc.proto` and
//! `kv.proto`. What is left out of a message is skipped when it is read.

use prost::{Enumeration, Message, Oneof};

/// What every answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Header {
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Of the whole store.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// A key and what it holds.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease that it hangs on; 0 is none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The first key behind; empty is the key alone.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// As they were then; 0 is now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub more: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestOp {
    #[prost(oneof = "Operation", tags = "1, 2, 3")]
    pub request: Option<Operation>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Operation {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResponseOp {
    /// Of the other operations nothing is asked.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// What of a key is compared: the revision that made it, or that changed it last.
const CREATE: i32 = 1;
const MODIFIED: i32 = 2;

/// A condition; the result that is asked for is always that both are equal.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compare {
    #[prost(int32, tag = "2")]
    pub target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(oneof = "Revision", tags = "5, 6")]
    pub revision: Option<Revision>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum Revision {
    /// 0 is that of a key that is not there.
    #[prost(int64, tag = "5")]
    Create(i64),
    #[prost(int64, tag = "6")]
    Modified(i64),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// To be told now and then how far the store has come, where nothing happens in the range.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// Many events may come in several answers.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// The oldest that could be watched, where what was asked for is older.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More of the same revision follows.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Event {
    #[prost(enumeration = "EventType", tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum EventType {
    Put = 0,
    Delete = 1,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    pub ttl: i64,
}

/// The answers about leases: which, and how many seconds it lives still; none or -1 if there is none.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseResponse {
    #[prost(int64, tag = "2")]
    pub id: i64,
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

/// Of a request that names a lease, that.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseRequest {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TimeToLiveResponse {
    /// Seconds; -1 if there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// What it was granted.
    #[prost(int64, tag = "4")]
    pub granted: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub password: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub token: String,
}

/// Asks for all alarms.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AlarmRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AlarmResponse {
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<Alarm>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Alarm {
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// 1: no space; 2: corrupt.
    #[prost(int32, tag = "2")]
    pub alarm: i32,
}

/// Of what only tells whether it was done.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Done {}

impl Compare {
    /// Whether a key is not there.
    pub fn is_absent(key: Vec<u8>) -> Self {
        let revision = Some(Revision::Create(0));
        Self { target: CREATE, key, revision }
    }

    /// Whether a key is as it was after a change.
    pub fn is_unchanged(key: Vec<u8>, since: i64) -> Self {
        let revision = Some(Revision::Modified(since));
        Self { target: MODIFIED, key, revision }
    }
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        Self { request: Some(operation) }
    }
}

/// The first key behind all that begin so.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // To the end of all.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next() {
        assert_eq!(end_of(b"/flatnet/pods/"), b"/flatnet/pods0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
        assert_eq!(end_of(b""), b"\0");
    }

    #[test]
    fn a_claim_is_what_etcd_reads() {
        let put = PutRequest { key: b"k".to_vec(), value: b"v".to_vec(), lease: 7 };
        let txn = TxnRequest {
            compare: vec![Compare::is_absent(b"k".to_vec())],
            success: vec![Operation::Put(put).into()],
            failure: Vec::new(),
        };
        // compare { target: CREATE, key: "k", create_revision: 0 }, success { request_put { "k", "v", 7 } }
        let expected = [
            0x0a, 0x07, 0x10, 0x01, 0x1a, 0x01, b'k', 0x28, 0x00, 0x12, 0x0a, 0x12, 0x08, 0x0a,
            0x01, b'k', 0x12, 0x01, b'v', 0x18, 0x07,
        ];
        assert_eq!(txn.encode_to_vec(), expected);
    }

    #[test]
    fn what_is_not_known_is_skipped() {
        // header { member_id: 5, revision: 9 }, kvs { key: "a", version: 3, lease: 7 }, count: 1
        let bytes = [
            0x0a, 0x04, 0x10, 0x05, 0x18, 0x09, 0x12, 0x07, 0x0a, 0x01, b'a', 0x20, 0x03, 0x30,
            0x07, 0x20, 0x01,
        ];
        let range = RangeResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(range.header.unwrap().revision, 9);
        assert_eq!((range.kvs[0].key.as_slice(), range.kvs[0].lease), (b"a".as_slice(), 7));
        assert!(RangeResponse::decode([0x12, 0x7f].as_slice()).is_err());
    }
}
