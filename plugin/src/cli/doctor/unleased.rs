//! Pods of which no lease tells, though flatnet gave their addresses: the state folder was lost, or moved.

use super::finding::{Finding, some};
use super::scene::Scene;
use crate::cli::list::pod_name;
use crate::error::Error;

/// Looks which attachments have no lease. Where another IPAM plugin gives addresses, that keeps the books.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    if scene.conf.ipam.is_some() {
        return Ok(Vec::new());
    }
    let records = scene.look.attachments(scene.conf)?.leases;
    let unleased = records.iter().filter(|record| record.attachment.sandbox.is_none());
    let pods: Vec<_> = unleased.map(|record| pod_name(&record.attachment)).collect();
    Ok(judge(&pods).into_iter().collect())
}

fn judge(pods: &[String]) -> Option<Finding> {
    let count = match pods.len() {
        0 => return None,
        1 => "1 pod has no lease".into(),
        count => format!("{count} pods have no lease"),
    };
    Some(Finding::advise(
        format!("{count}: {}", some(pods)),
        "the state folder was lost or moved; the pods go on, no other pod gets their addresses, and DEL clears them, \
         but CHECK fails and sync does not look at them",
        "put the folder back where stateDir says, or let the runtime make these pods anew when it suits",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_without_a_lease_are_counted_and_named() {
        assert_eq!(judge(&[]), None);
        assert_eq!(judge(&["web".into()]).unwrap().what, "1 pod has no lease: web");
        let two = judge(&["web".into(), "db".into()]).unwrap();
        assert_eq!(two.what, "2 pods have no lease: web, db");
    }
}
