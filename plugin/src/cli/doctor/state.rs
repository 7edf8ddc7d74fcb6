//! Whether a lease can be written: a full disk, or a folder that is read-only, keeps every pod from its address.

use flatnet_ipam::check_leases;

use super::scene::Scene;
use crate::cli::finding::Finding;
use crate::error::Error;

/// Asks as STATUS does. Where another IPAM plugin gives addresses, that keeps the books.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    if scene.conf.ipam.is_some() {
        return Ok(Vec::new());
    }
    let written = check_leases(&scene.conf.state_dir, &scene.conf.name, &scene.look.site.node.name);
    Ok(written.err().map(|error| judge(&error.to_string())).into_iter().collect())
}

/// The error says itself, as far as that is known, what mends it.
fn judge(error: &str) -> Finding {
    Finding::advise(
        error,
        "no pod can start on this node; those that run go on",
        "make room there, and let root write there again; nothing else needs to be done after it",
    )
}
