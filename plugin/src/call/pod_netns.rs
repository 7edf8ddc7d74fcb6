//! `CNI_NETNS`: the pod's namespace, checked before anything is done to it.

use std::path::Path;

use flatnet_conf::Invocation;

use crate::error::Error;
use crate::kernel::netns::Netns;

/// Opens the namespace that ADD and CHECK are about.
///
/// # Errors
/// Code 8 if it is no namespace or the plugin's own: a runtime that passed the path of a process
/// since gone once had a plugin take the host's interfaces for a pod's.
pub fn open(invocation: &Invocation, own: u64) -> Result<Netns, Error> {
    let path = invocation.netns.as_deref().unwrap_or(Path::new(""));
    let fault = |reason| Error::Netns { path: path.display().to_string(), reason };
    let netns = Netns::open(path)?
        .ok_or_else(|| fault("not a network namespace; is the pod still there?"))?;
    if netns.inode()? == own && !invocation.netns_override {
        return Err(fault("the pod's network namespace is the node's own"));
    }
    Ok(netns)
}
