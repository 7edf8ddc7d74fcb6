//! Which node of the range file is this one, so that one configuration serves every node.

use std::net::IpAddr;
use std::path::Path;

use crate::{Error, Node, RangeFile};

/// How many candidates a message lists.
const LISTED: usize = 10;

/// Finds this node: the one `configured`; else the one whose VTEP is among `own_addresses`; else
/// the one named as the host. None or several is an error with code 7 that lists the candidates.
/// `origin` is the range file's path, for messages.
pub fn find_node<'a>(
    file: &'a RangeFile,
    origin: &Path,
    configured: Option<&str>,
    own_addresses: &[IpAddr],
    hostname: &str,
) -> Result<&'a Node, Error> {
    let origin = origin.display();
    if let Some(name) = configured {
        return file.node(name).ok_or_else(|| {
            Error::Node(format!(
                "{origin}: no node is named {name:?}, as node in the network configuration says; \
                 its nodes are {}",
                list(&file.nodes.iter().collect::<Vec<_>>())
            ))
        });
    }
    let ours: Vec<_> =
        file.nodes.iter().filter(|node| own_addresses.contains(&node.vtep)).collect();
    match ours.as_slice() {
        [] => named_as_host(file, hostname).ok_or_else(|| {
            Error::Node(format!(
                "{origin}: no node's vtep is an address of this machine, and none is named \
                 {hostname:?} as it is; its nodes are {}; correct the file, or set node in the \
                 network configuration",
                list(&file.nodes.iter().collect::<Vec<_>>())
            ))
        }),
        [node] => Ok(node),
        several => Err(Error::Node(format!(
            "{origin}: this machine has the vtep of several nodes, {}; set node in the network \
             configuration to one of them",
            list(several)
        ))),
    }
}

/// Host names have no case, and node names only the lower one.
fn named_as_host<'a>(file: &'a RangeFile, hostname: &str) -> Option<&'a Node> {
    file.node(&hostname.to_ascii_lowercase())
}

fn list(nodes: &[&Node]) -> String {
    let listed: Vec<_> =
        nodes.iter().take(LISTED).map(|node| format!("{} ({})", node.name, node.vtep)).collect();
    match nodes.len().saturating_sub(LISTED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(nodes: usize) -> RangeFile {
        let node = |i: usize| Node {
            name: format!("node-{i}"),
            vtep: format!("192.168.50.{i}").parse().unwrap(),
            ranges: vec![crate::Range::parse(&format!("10.244.{i}.0/24")).unwrap()],
        };
        let nodes = (1..=nodes).map(node).collect();
        RangeFile {
            vni: 1,
            port: 4789,
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            direct_routing: false,
            nodes,
        }
    }

    fn find(
        file: &RangeFile,
        configured: Option<&str>,
        own: &[&str],
        host: &str,
    ) -> Result<String, String> {
        let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        match find_node(file, Path::new("/pods.json"), configured, &own, host) {
            Ok(node) => Ok(node.name.clone()),
            Err(error) => {
                assert_eq!(error.code(), 7);
                Err(error.to_string())
            }
        }
    }

    #[test]
    fn in_this_order() {
        let file = file(3);
        let own = ["127.0.0.1", "192.168.50.2"];
        assert_eq!(find(&file, Some("node-3"), &own, "node-1").as_deref(), Ok("node-3"));
        assert_eq!(find(&file, None, &own, "node-1").as_deref(), Ok("node-2"));
        assert_eq!(find(&file, None, &["127.0.0.1"], "Node-1").as_deref(), Ok("node-1"));
    }

    #[test]
    fn candidates_are_listed() {
        let nodes = "node-1 (192.168.50.1), node-2 (192.168.50.2)";
        assert_eq!(
            find(&file(2), Some("x"), &["192.168.50.1"], "node-1"),
            Err(format!(
                "/pods.json: no node is named \"x\", as node in the network configuration says; \
                 its nodes are {nodes}"
            ))
        );
        assert_eq!(
            find(&file(2), None, &["10.0.0.1"], "host"),
            Err(format!(
                "/pods.json: no node's vtep is an address of this machine, and none is named \
                 \"host\" as it is; its nodes are {nodes}; correct the file, or set node in the \
                 network configuration"
            ))
        );
        assert_eq!(
            find(&file(3), None, &["192.168.50.2", "192.168.50.1"], "node-1"),
            Err(format!(
                "/pods.json: this machine has the vtep of several nodes, {nodes}; set node in the \
                 network configuration to one of them"
            ))
        );
        let many = find(&file(12), Some("x"), &[], "").unwrap_err();
        assert!(many.ends_with("node-10 (192.168.50.10) and 2 more"), "{many}");
    }
}
