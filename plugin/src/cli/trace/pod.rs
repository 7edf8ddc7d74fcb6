//! Which pod a person means.

use std::net::IpAddr;

use flatnet_ipam::Record;

use crate::cli::error::CommandError;

/// The leases of the one container that a word names: by an address, by the pod's namespace and name
/// or its name alone, or by the container's ID or what it begins with.
///
/// # Errors
/// It names none or several.
pub fn named<'a>(leases: &'a [Record], word: &str) -> Result<Vec<&'a Record>, CommandError> {
    let address: Option<IpAddr> = word.parse().ok();
    let exact = |lease: &&Record| {
        let holder = &lease.attachment;
        let name = holder.pod.name.as_deref();
        let full = holder.pod.namespace.as_deref().zip(name);
        address.is_some_and(|address| lease.addresses.contains(&address))
            || full.is_some_and(|(namespace, name)| word == format!("{namespace}/{name}"))
            || name == Some(word)
            || holder.container_id == word
    };
    let mut found: Vec<&Record> = leases.iter().filter(exact).collect();
    if found.is_empty() && !word.is_empty() {
        found = leases.iter().filter(|l| l.attachment.container_id.starts_with(word)).collect();
    }
    let same = |a: &Record, b: &Record| {
        let (a, b) = (&a.attachment, &b.attachment);
        // The ID alone where it is known: a runtime may tell more of a pod at one ADD than at another.
        a.container_id == b.container_id && (!a.container_id.is_empty() || a.pod == b.pod)
    };
    let mean = |containers: &[&Record]| -> String {
        containers.iter().map(|lease| lease.attachment.to_string()).collect::<Vec<_>>().join(", ")
    };
    match found.first() {
        None => Err(CommandError::Refused(format!(
            "no pod of this node is named {word:?}; `flatnet list` shows them"
        ))),
        // The container's other interfaces, too: its own routes say which a packet takes.
        Some(first) if found.iter().all(|lease| same(lease, first)) => {
            Ok(leases.iter().filter(|lease| same(lease, first)).collect())
        }
        Some(_) => Err(CommandError::Refused(format!("{word:?} may be any of {}", mean(&found)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatnet_ipam::{Holder, Pod};

    fn lease(id: &str, ifname: &str, pod: Option<(&str, &str)>, address: &str) -> Record {
        let pod = pod.map_or_else(Pod::default, |(namespace, name)| Pod {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            uid: None,
        });
        let attachment =
            Holder { container_id: id.into(), ifname: ifname.into(), pod, ..Holder::default() };
        Record { attachment, addresses: vec![address.parse().unwrap()] }
    }

    #[test]
    fn a_pod_has_many_names() {
        let leases = [
            lease("abc1", "eth0", Some(("default", "web")), "10.1.1.1"),
            lease("abc1", "net1", Some(("default", "web")), "10.9.1.1"),
            lease("abd2", "eth0", Some(("other", "web")), "10.1.1.2"),
            lease("abc", "eth0", None, "10.1.1.3"),
        ];
        let found = |word: &str| {
            named(&leases, word)
                .map(|found| found.iter().map(|l| l.addresses[0].to_string()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        let both = Ok(vec!["10.1.1.1".to_owned(), "10.9.1.1".to_owned()]);
        assert_eq!(found("default/web"), both);
        assert_eq!(found("10.9.1.1"), both);
        assert_eq!(found("abc1"), both);
        assert_eq!(found("other/web"), Ok(vec!["10.1.1.2".into()]));
        assert_eq!(found("abd"), Ok(vec!["10.1.1.2".into()]));
        assert_eq!(found("abc"), Ok(vec!["10.1.1.3".into()]), "the whole ID, not what it begins");
        assert!(found("web").unwrap_err().starts_with("\"web\" may be any of interface eth0 of"));
        assert!(found("unknown").unwrap_err().contains("no pod of this node is named \"unknown\""));
        assert!(found("").is_err());
    }

    #[test]
    fn pods_whose_container_is_unknown_are_told_apart() {
        let leases = [
            lease("", "eth0", Some(("default", "web")), "10.1.1.1"),
            lease("", "net1", Some(("default", "web")), "10.9.1.1"),
            lease("", "eth0", Some(("default", "db")), "10.1.1.2"),
        ];
        assert_eq!(named(&leases, "web").unwrap(), [&leases[0], &leases[1]]);
        assert_eq!(named(&leases, "10.1.1.2").unwrap(), [&leases[2]]);
    }
}
