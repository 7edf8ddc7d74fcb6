//! How an attachment of Docker's is known, in the books and by its alias.

use flatnet_ipam::Holder;

use crate::error::Error;
use crate::kernel::{Link, Observe};

/// Stands where another attachment's lease has a Kubernetes namespace, none of which can be called so.
pub const DOCKER: &str = "docker:";

/// Whether an attachment is of a container of Docker's, which names its interfaces and has routes of Docker's making.
pub fn is_dockers(holder: &Holder) -> bool {
    holder.pod.namespace.as_deref() == Some(DOCKER)
}

/// Whether it is a reservation: addresses for an endpoint that Docker is still to make.
pub fn is_reservation(holder: &Holder) -> bool {
    is_dockers(holder) && holder.pod.name.is_none()
}

/// Whether Docker is still to move the pod's end, into a namespace that may not be there yet.
pub fn is_unmoved(holder: &Holder, on_node: &Link) -> bool {
    is_dockers(holder) && on_node.peer_netns.is_none()
}

/// The name of the pod's end, whose other end this is; `None` if it is gone. Docker numbers the interfaces of a
/// container as it pleases.
///
/// # Errors
/// The kernel cannot be asked.
pub fn name_in_pod(
    pod: &mut dyn Observe,
    holder: &Holder,
    on_node: &Link,
) -> Result<Option<String>, Error> {
    match on_node.peer.filter(|_| is_dockers(holder)) {
        Some(index) => Ok(pod.link_by_index(index)?.map(|link| link.dev.name)),
        None => Ok(Some(holder.ifname.clone())),
    }
}
