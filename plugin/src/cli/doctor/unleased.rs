//! Pods of which no lease tells, though flatnet gave their addresses: the state folder was lost, or moved.
//! And what an ADD left that never came to its end.

use flatnet_ipam::Record;

use super::scene::Scene;
use crate::attachment::unleased::is_unleased;
use crate::cli::finding::{Finding, some};
use crate::cli::pod_name::pod_name;
use crate::error::Error;

/// Looks which attachments have no lease. Where another IPAM plugin gives addresses, that keeps the books.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let ends = &scene.look.drift.books.unfinished;
    let left: Vec<_> = ends.iter().map(|end| end.dev.name.clone()).collect();
    let mut unleased = Vec::new();
    if scene.conf.ipam.is_none() {
        unleased = scene.look.attachments(scene.conf)?.leases;
        unleased.retain(|record| is_unleased(&record.attachment));
    }
    Ok(judge(&unleased, &left, &scene.sync))
}

fn judge(unleased: &[Record], left: &[String], sync: &str) -> Vec<Finding> {
    let (routed, bare): (Vec<_>, Vec<_>) =
        unleased.iter().partition(|record| !record.addresses.is_empty());
    let names = |records: &[&Record]| -> Vec<String> {
        records.iter().map(|record| pod_name(&record.attachment)).collect()
    };
    let mut findings = Vec::new();
    if let Some(what) = counted(&names(&routed), "pod has", "pods have", "no lease") {
        findings.push(Finding::run(
            what,
            "the state folder was lost or moved; the pods go on and no other pod gets their addresses, but sync does \
             not look at them",
            sync,
        ));
    }
    if let Some(what) = counted(&names(&bare), "pod has", "pods have", "no lease and no route") {
        findings.push(Finding::advise(
            what,
            "neither disk nor kernel tells their addresses any more, which may be given to other pods",
            "let the runtime make these pods again",
        ));
    }
    if let Some(what) =
        counted(left, "device was", "devices were", "left by an ADD that was killed")
    {
        findings.push(Finding::advise(
            what,
            "no lease tells of them; the addresses that they have routes to are kept from pods",
            "have the runtime call DEL or GC for these attachments",
        ));
    }
    findings
}

fn counted(names: &[String], one: &str, several: &str, what: &str) -> Option<String> {
    let count = match names.len() {
        0 => return None,
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    };
    Some(format!("{count} {what}: {}", some(names)))
}

#[cfg(test)]
mod tests {
    use flatnet_ipam::Holder;

    use super::*;

    #[test]
    fn pods_without_a_lease_are_counted_and_named() {
        let record = |id: &str, address: Option<&str>| Record {
            attachment: Holder { container_id: id.into(), ..Holder::default() },
            addresses: address.map(|address| address.parse().unwrap()).into_iter().collect(),
        };
        let [web, db] = ["web-1", "my-db"].map(|id| record(id, Some("10.1.1.1")));
        let told = |unleased: &[Record], left: &[String]| -> Vec<String> {
            judge(unleased, left, "flatnet sync").iter().map(Finding::words).collect()
        };
        assert_eq!(told(&[], &[]), [""; 0]);
        assert_eq!(
            told(std::slice::from_ref(&web), &[]),
            ["1 pod has no lease: web-1; flatnet sync"]
        );
        assert_eq!(
            told(&[web, record("bare", None), db], &["veth1".into()]),
            [
                "2 pods have no lease: web-1, my-db; flatnet sync",
                "1 pod has no lease and no route: bare; let the runtime make these pods again",
                "1 device was left by an ADD that was killed: veth1; have the runtime call DEL or GC for these \
                 attachments",
            ]
        );
    }
}
