//! Changes of own objects. What the server holds is asked for before anything is changed that is there already,
//! and is changed only as it was then.

use hyper::Method;
use ipnetwork::IpNetwork;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{BlockEntry, NodeEntry, label_name};
use crate::source::{Deed, Refusal};

use super::ask::{BRIEF, Failure, WHOLE, ask};
use super::network::Network;
use super::objects::{FlatnetBlock, FlatnetBlockSpec, FlatnetNode, FlatnetNodeSpec};
use super::seen::{Kind, Metadata, Seen};

const EXISTS: u16 = 409;
const ABSENT: u16 = 404;
const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";

/// Whose deeds these are.
pub struct Doer<'a> {
    /// The way to the server.
    pub client: &'a Client,
    /// The node's name.
    pub node: &'a str,
    /// The network whose blocks they are.
    pub network: &'a Network,
    /// Its Node, which owns what is made; there may be none while pods live on.
    pub uid: Option<String>,
}

/// What was tried, on which object, and what came of it.
fn failed(what: &str, name: &str, failure: &Failure) -> Refusal {
    Refusal::Failed(format!("{what} {name}: {failure}"))
}

/// The owner of an own object: with the Node goes what is its.
pub fn owners(node: &str, uid: Option<&str>) -> Value {
    match uid {
        Some(uid) => json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}]),
        None => json!([]),
    }
}

impl Doer<'_> {
    /// Does it.
    pub async fn carry_out(&self, deed: &Deed) -> Result<(), Refusal> {
        match deed {
            Deed::PutNode { vtep } => self.put_node(vtep.to_string()).await,
            Deed::Claim(range) | Deed::Reclaim(range) => self.claim(*range).await,
            Deed::Retire(range) => self.hold(*range, true).await,
            Deed::Release(range) => self.release(*range).await,
        }
    }

    async fn create<T: Kind>(&self, mut object: Value) -> Result<(), Failure> {
        object["metadata"]["ownerReferences"] = owners(self.node, self.uid.as_deref());
        ask::<Seen>(self.client, Method::POST, T::PATH, BRIEF, Some((JSON, &object)))
            .await
            .map(drop)
    }

    async fn get<T: Kind>(&self, name: &str) -> Result<Seen, Failure> {
        ask(self.client, Method::GET, &path::<T>(name), WHOLE, None).await
    }

    /// Changes a spec, unless somebody else changed the object since it was seen.
    async fn set<T: Kind>(&self, seen: &Seen, spec: Value) -> Result<(), Failure> {
        let metadata =
            json!({"uid": seen.metadata.uid, "resourceVersion": seen.metadata.resource_version});
        let patch = json!({"metadata": metadata, "spec": spec});
        let path = path::<T>(&seen.metadata.name);
        ask::<Seen>(self.client, Method::PATCH, &path, BRIEF, Some((MERGE, &patch))).await.map(drop)
    }

    async fn put_node(&self, vtep: String) -> Result<(), Refusal> {
        let object = json!(FlatnetNode::new(self.node, FlatnetNodeSpec { vtep }));
        let done = match self.create::<NodeEntry>(object.clone()).await {
            Err(failure) if failure.code() == Some(EXISTS) => self.move_node(object).await,
            made => made,
        };
        done.map_err(|failure| failed("writing FlatnetNode", self.node, &failure))
    }

    /// An object is as old as the address that it says, so that no other node loses its own by it: it is made again.
    async fn move_node(&self, object: Value) -> Result<(), Failure> {
        let seen = self.get::<NodeEntry>(self.node).await?;
        if object["spec"]["vtep"] == seen.text("vtep") {
            return Ok(());
        }
        self.delete::<NodeEntry>(seen.metadata).await?;
        self.create::<NodeEntry>(object).await
    }

    async fn claim(&self, range: IpNetwork) -> Result<(), Refusal> {
        let name = label_name(range);
        let spec = FlatnetBlockSpec {
            range: range.to_string(),
            node: self.node.to_owned(),
            retiring: false,
        };
        let mut block = json!(FlatnetBlock::new(&name, spec));
        block["metadata"]["labels"] = self.network.labels();
        match self.create::<BlockEntry>(block).await {
            Err(failure) if failure.code() == Some(EXISTS) => self.hold(range, false).await,
            made => made.map_err(|failure| failed("making FlatnetBlock", &name, &failure)),
        }
    }

    /// A block that is there: whether it is ours, and what it says of itself.
    async fn hold(&self, range: IpNetwork, retiring: bool) -> Result<(), Refusal> {
        let name = label_name(range);
        let seen = self
            .get::<BlockEntry>(&name)
            .await
            .map_err(|failure| failed("reading FlatnetBlock", &name, &failure))?;
        let block = BlockEntry::read(&seen);
        if block.node != self.node {
            return Err(Refusal::Taken { range, holder: block.node });
        }
        if !self.network.has(&seen) {
            let holder = format!("{} in another network", block.node);
            return Err(Refusal::Taken { range, holder });
        }
        if seen.metadata.deletion_timestamp.is_some() {
            return Err(Refusal::Failed(format!(
                "FlatnetBlock {name} is about to be deleted; it is made again then"
            )));
        }
        if block.retiring == retiring {
            return Ok(());
        }
        let set = self.set::<BlockEntry>(&seen, json!({"retiring": retiring})).await;
        set.map_err(|failure| failed("changing FlatnetBlock", &name, &failure))
    }

    async fn release(&self, range: IpNetwork) -> Result<(), Refusal> {
        let name = label_name(range);
        match self.delete_own(&name).await {
            Err(failure) if failure.code() == Some(ABSENT) => Ok(()),
            deleted => deleted.map_err(|failure| failed("deleting FlatnetBlock", &name, &failure)),
        }
    }

    /// One of another node or network stays: there is nothing of ours to give back.
    async fn delete_own(&self, name: &str) -> Result<(), Failure> {
        let seen = self.get::<BlockEntry>(name).await?;
        if seen.text("node") != self.node || !self.network.has(&seen) {
            return Ok(());
        }
        self.delete::<BlockEntry>(seen.metadata).await
    }

    /// Deletes an object, unless somebody else changed it since it was seen.
    async fn delete<T: Kind>(&self, seen: Metadata) -> Result<(), Failure> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": seen.uid, "resourceVersion": seen.resource_version},
        });
        let path = path::<T>(&seen.name);
        ask::<Value>(self.client, Method::DELETE, &path, BRIEF, Some((JSON, &options)))
            .await
            .map(drop)
    }

    /// Gives an own object to the Node; `uid` is the object's, which must still be that one.
    pub async fn adopt<T: Kind>(&self, name: &str, uid: &str) -> Result<(), Failure> {
        let owners = owners(self.node, self.uid.as_deref());
        let patch = json!({"metadata": {"uid": uid, "ownerReferences": owners}});
        ask::<Seen>(self.client, Method::PATCH, &path::<T>(name), BRIEF, Some((MERGE, &patch)))
            .await
            .map(drop)
    }
}

/// Where an object is. Its name comes from a range, from a checked node's name, or from the server.
fn path<T: Kind>(name: &str) -> String {
    format!("{}/{name}", T::PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_the_nodes() {
        let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"}]);
        assert_eq!(owners("n1", Some("u1")), owner);
        assert_eq!(owners("n1", None), json!([]));
    }

    #[test]
    fn a_block_is_written_as_it_is_read() {
        let spec = FlatnetBlockSpec {
            range: "10.244.7.0/24".to_owned(),
            node: "n7".to_owned(),
            retiring: false,
        };
        let object = json!(FlatnetBlock::new("10-244-7-0-24", spec));
        assert_eq!(object["apiVersion"], "flatnet.dev/v1alpha1");
        assert_eq!(object["kind"], "FlatnetBlock");
        let read = BlockEntry::read(&serde_json::from_value(object).unwrap());
        assert_eq!(
            (&*read.key, read.subnet(), &*read.node),
            ("10-244-7-0-24", "10.244.7.0/24".parse().ok(), "n7")
        );
    }
}
