//! What a lease says on disk: whose it is, and which addresses.
//!
//! It holds enough to find the attachment in the kernel again without the range file or the
//! configuration: the node's end of the veth pair, and which network namespace is the node's.

use std::fmt;
use std::net::IpAddr;

use flatnet_conf::printable;
use serde::{Deserialize, Serialize};

/// One interface of one container in a network, as the verb that attaches it knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Holder {
    /// `CNI_CONTAINERID`; empty in a lease that was made again, and where an attachment is known by
    /// other means, if these do not tell.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`: the interface's name in the pod.
    pub ifname: String,
    /// The name of the node's end of the veth pair; empty where another main plugin than flatnet
    /// makes the interface, of which the kernel then tells nothing.
    pub veth: String,
    /// The inode of the node's own network namespace, as `stat -Lc %i /proc/self/ns/net` shows it.
    pub netns: u64,
    /// What the runtime said about the pod.
    #[serde(default, skip_serializing_if = "Pod::is_empty")]
    pub pod: Pod,
    /// `CNI_NETNS`, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Whether the plugin bandwidth limits it, which nothing may pass by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_shaped: bool,
}

impl Holder {
    /// Whether another main plugin than flatnet makes the interface: then only its DEL and its
    /// GC know when the addresses are free.
    pub fn is_delegated(&self) -> bool {
        self.veth.is_empty()
    }
}

/// The Kubernetes pod of an attachment, as far as CNI_ARGS name it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pod {
    /// `K8S_POD_NAMESPACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `K8S_POD_NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `K8S_POD_UID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl Pod {
    fn is_empty(&self) -> bool {
        *self == Pod::default()
    }
}

/// The content of a lease file.
///
/// Keys that this version does not know are tolerated, so that a newer flatnet's leases can be
/// released after a downgrade.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whose lease it is.
    #[serde(flatten)]
    pub attachment: Holder,
    /// The addresses it holds, at most one per family, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

/// `interface eth0 of container c1 (pod default/web-0)`, for messages.
/// For people: what comes from outside is printable here.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container_id, ifname, pod, .. } = self;
        let pod = match (&pod.namespace, &pod.name) {
            (Some(namespace), Some(name)) => Some(format!("pod {namespace}/{name}")),
            (None, Some(name)) => Some(format!("pod {name}")),
            _ => None,
        };
        let pod = pod.map(|pod| printable(&pod));
        match pod {
            Some(pod) if container_id.is_empty() => write!(f, "interface {ifname} of {pod}"),
            Some(pod) => write!(f, "interface {ifname} of container {container_id} ({pod})"),
            None => write!(f, "interface {ifname} of container {container_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            attachment: Holder {
                container_id: "c1".to_owned(),
                ifname: "eth0".to_owned(),
                veth: "veth0123456789a".to_owned(),
                netns: 4026531840,
                pod: Pod {
                    namespace: Some("default".to_owned()),
                    name: Some("web-0".to_owned()),
                    uid: None,
                },
                sandbox: Some("/run/netns/c1".to_owned()),
                is_shaped: false,
            },
            addresses: vec![[10, 244, 1, 5].into(), "fd00::5".parse().unwrap()],
        }
    }

    #[test]
    fn the_file_reads_as_documented() {
        let text = concat!(
            r#"{"containerID":"c1","ifname":"eth0","veth":"veth0123456789a","netns":4026531840,"#,
            r#""pod":{"namespace":"default","name":"web-0"},"sandbox":"/run/netns/c1","#,
            r#""addresses":["10.244.1.5","fd00::5"]}"#
        );
        assert_eq!(serde_json::to_string(&record()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record());
    }

    #[test]
    fn optional_parts_may_be_absent_and_unknown_ones_present() {
        let text = r#"{"containerID":"c","ifname":"e","veth":"v","netns":1,"addresses":[],"x":1}"#;
        let read: Record = serde_json::from_str(text).unwrap();
        assert_eq!(read.attachment.pod, Pod::default());
        assert_eq!(read.attachment.sandbox, None);
    }

    #[test]
    fn what_is_no_lease_is_refused() {
        for text in ["", "{}", "[]", r#"{"containerID":"c"}"#, "\0\0\0"] {
            assert!(serde_json::from_str::<Record>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_name_the_pod_when_it_is_known() {
        let mut attachment = record().attachment;
        let with = "interface eth0 of container c1 (pod default/web-0)";
        assert_eq!(attachment.to_string(), with);
        attachment.container_id.clear();
        assert_eq!(attachment.to_string(), "interface eth0 of pod default/web-0");
        attachment = Holder { pod: Pod::default(), ..record().attachment };
        assert_eq!(attachment.to_string(), "interface eth0 of container c1");
    }
}
