//! A node is taken out.

use std::collections::BTreeSet;

use flatnet::cli::{Outcome, age};

use super::super::client::{Failure, REVOKE, TXN};
use super::super::keys::Entry;
use super::super::wire::{
    Compare, DeleteRangeRequest, Done, LeaseRequest, Operation, TxnRequest, TxnResponse,
};
use super::site::{Answer, Site};
use super::view::{Seen, View};

/// etcd takes no more operations in a transaction than 128.
const AT_ONCE: usize = 100;

pub async fn run(site: &Site, node: &str, force: bool) -> Answer {
    let view = View::read(site).await?;
    let own = keys_of(&view, node, force)?;
    let written = |failure: Failure| format!("deleting the keys of {node}: {failure}");
    for some in own.chunks(AT_ONCE) {
        let compare = |seen: &Seen| Compare::is_unchanged(seen.key.clone(), seen.modified);
        let delete =
            |seen: &Seen| Operation::Delete(DeleteRangeRequest { key: seen.key.clone() }).into();
        let txn = TxnRequest {
            compare: some.iter().map(compare).collect(),
            success: some.iter().map(delete).collect(),
            failure: Vec::new(),
        };
        let done: TxnResponse = site.client.ask(TXN, txn).await.map_err(written)?;
        if !done.succeeded {
            return Err(format!(
                "a key of {node} has just changed: is its agent alive? Try it again"
            ));
        }
    }
    // Nothing hangs on them any more, but an agent that lives would go on with them.
    let leases: BTreeSet<i64> = own.iter().map(|seen| seen.lease).filter(|id| *id != 0).collect();
    let shared = |id: &i64| {
        let others = view.seen.iter().filter(|seen| seen.entry.node() != node);
        others.into_iter().any(|seen| seen.lease == *id)
    };
    for id in leases.into_iter().filter(|id| !shared(id)) {
        match site.client.ask::<_, Done>(REVOKE, LeaseRequest { id }).await {
            Err(failure) if failure.code() != Some(tonic::Code::NotFound) => {
                return Err(format!("ending the lease of {node}: {failure}"));
            }
            _ => {}
        }
    }
    let ranges = own.iter().filter_map(|seen| match &seen.entry {
        Entry::Block(block) => block.subnet(),
        Entry::Node(_) => None,
    });
    let ranges: Vec<String> = ranges.map(|range| range.to_string()).collect();
    let ranges = if ranges.is_empty() { "no range".to_owned() } else { ranges.join(" ") };
    Ok((format!("{node} is forgotten; it had {ranges}\n"), Outcome::Fine))
}

/// The keys of a node, if it may be forgotten.
fn keys_of(view: &View, node: &str, force: bool) -> Result<Vec<Seen>, String> {
    let own = view.seen.iter().filter(|seen| seen.entry.node() == node);
    let own: Vec<Seen> = own.cloned().collect();
    if own.is_empty() {
        return Err(format!("nothing is known of a node {node:?}"));
    }
    match view.life(node).filter(|life| !life.is_late() && !force) {
        Some(life) => Err(format!(
            "the agent of {node} was heard of {} ago, and would write its keys again: stop it there first, or give \
             --force",
            age(life.age())
        )),
        None => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::admin::fixture::{lives, view};

    #[test]
    fn a_node_that_lives_is_kept() {
        let mut view = view(&["a 192.0.2.1", "10.1.1.0/24 a", "b 192.0.2.2", "10.1.2.0/24 b"]);
        lives(&mut view, "a", 86_400, 86_390);
        lives(&mut view, "b", 86_400, 80_000);
        let error = keys_of(&view, "a", false).unwrap_err();
        assert!(error.contains("10s ago") && error.contains("--force"), "{error}");
        let nodes = |own: Vec<Seen>| {
            own.iter().map(|seen| seen.entry.node().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys_of(&view, "a", true).map(nodes).unwrap(), ["a", "a"]);
        assert_eq!(keys_of(&view, "b", false).map(nodes).unwrap(), ["b", "b"], "it is late");
        let error = keys_of(&view, "../a\n", false).unwrap_err();
        assert_eq!(error, r#"nothing is known of a node "../a\n""#);
    }
}
