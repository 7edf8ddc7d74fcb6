//! All keys of a prefix, in pages.

use tonic::Code;

use super::client::{Client, Failure, RANGE};
use super::wire::{Header, KeyValue, RangeRequest, RangeResponse, end_of};

/// Keys of a page: of what agents write, 150 kB.
const PAGE: i64 = 1000;

/// Has each key of one moment taken; returns which moment that was.
///
/// Values may be as long as etcd takes them: where a page of them is too long for one answer, it is asked for in
/// shorter ones.
pub async fn list(
    client: &Client,
    prefix: &str,
    mut take: impl FnMut(KeyValue),
) -> Result<Header, Failure> {
    let mut request = RangeRequest {
        key: prefix.into(),
        range_end: end_of(prefix.as_bytes()),
        limit: PAGE,
        revision: 0,
    };
    let mut moment = None;
    loop {
        let page: RangeResponse = match client.ask(RANGE, request.clone()).await {
            Err(failure) if request.limit > 1 && is_too_long(&failure) => {
                request.limit = (request.limit / 8).max(1);
                continue;
            }
            page => page?,
        };
        let header = page.header.ok_or(Failure::Nonsense("a list without a header"))?;
        let moment = *moment.get_or_insert(header);
        request.revision = moment.revision;
        if let Some(last) = page.kvs.last() {
            request.key = [last.key.as_slice(), b"\0"].concat();
        }
        let more = page.more && !page.kvs.is_empty();
        page.kvs.into_iter().for_each(&mut take);
        if !more {
            return Ok(moment);
        }
    }
}

/// Whether it is ours to ask for less at a time.
fn is_too_long(failure: &Failure) -> bool {
    matches!(failure.code(), Some(Code::OutOfRange)) && !failure.to_string().contains("etcdserver")
}
