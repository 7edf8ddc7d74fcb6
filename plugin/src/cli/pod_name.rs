//! What people call a pod.

use flatnet_ipam::Holder;

/// The pod, or where the runtime did not name it, the container's ID: of a hash as much as runtimes
/// show.
pub fn pod_name(holder: &Holder) -> String {
    let is_hash = holder.container_id.chars().all(|c| c.is_ascii_hexdigit());
    match (&holder.pod.namespace, &holder.pod.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.clone(),
        (_, None) if is_hash => holder.container_id.chars().take(13).collect(),
        (_, None) => holder.container_id.clone(),
    }
}
