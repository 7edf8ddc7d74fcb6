//! Who writes the range file, and so what is done about what it says. An operator changes the file itself. One that
//! flatnet-agent writes is changed where the agent has it from: what is changed in the file is written over.
//!
//! What the sentences promise of the agent is in `agent/src/claims.rs` (where a node is, which ranges it has),
//! `agent/src/document.rs` (what the network is) and `agent/src/publish.rs` (the file).

use flatnet_conf::matters::Engine::{self, Etcd, Kubernetes};

use Author::{Agent, Operator};

/// Who writes the range file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// A person, or whatever distributes files.
    #[default]
    Operator,
    /// flatnet-agent, which goes by this engine.
    Agent(Engine),
}

/// What to do, each as a part of a sentence. `file` is what the sentence calls the range file.
impl Author {
    /// A setting of the whole network is another; `words` say which, and end before where it is: "take vni out of".
    pub fn setting(self, words: &str, file: &str) -> String {
        match self {
            Operator => format!("{words} {file}"),
            Agent(Kubernetes) => format!(
                "{words} network.json, of which flatnet-agent's ConfigMap is made (`kubectl apply -k`)"
            ),
            Agent(Etcd) => format!(
                "{words} the --network file of flatnet-agent (/etc/flatnet/network.json) on every node"
            ),
        }
    }

    /// A setting of the plugin is another, `"mtu": 1400` for example.
    pub fn plugin_setting(self, key: &str, network: &str) -> String {
        match self {
            Operator => format!(
                "set {key} in the configuration of network {network} on every node and run `flatnet sync` there"
            ),
            Agent(_) => {
                self.setting(&format!("set {key} for the plugin flatnet in conflist of"), "")
            }
        }
    }

    /// A node's VTEP is wrong.
    pub fn vtep(self, file: &str) -> String {
        match self {
            Operator => format!("correct vtep in {file}"),
            Agent(Kubernetes) => OF_NODE.to_owned(),
            Agent(Etcd) => OF_OPTION.to_owned(),
        }
    }

    /// This node is taken for another, or its VTEP is wrong.
    pub fn place(self, file: &str) -> String {
        match self {
            Operator => format!("correct node in the network configuration or vtep in {file}"),
            Agent(_) => self.vtep(file),
        }
    }

    /// Nodes do not answer, and may be gone for good.
    pub fn gone(self, nodes: &[&str], file: &str) -> String {
        let one = if let [node] = nodes { *node } else { "NAME" };
        match self {
            Operator => format!("bring it back, or take it out of {file} on every node"),
            Agent(Kubernetes) => {
                format!("bring it back, or, if it is gone for good, `kubectl delete node {one}`")
            }
            Agent(Etcd) => format!(
                "bring it back, or, if it is gone for good, `flatnet-agent etcd forget {one}`, which the end of \
                 its lease does later"
            ),
        }
    }

    /// All addresses of a node are given.
    pub fn full(self, node: &str, file: &str, sync: &str) -> String {
        match self {
            Operator => format!(
                "add another range to {node} in {file}, put the file on every node, and run `{sync}` there"
            ),
            Agent(Kubernetes) => format!(
                "{CLAIMS} (`kubectl get flatnetblocks`), where nodes claim blocks; a Node keeps the podCIDRs that it \
                 has: have pods run on other nodes"
            ),
            Agent(Etcd) => format!(
                "{CLAIMS} (`flatnet-agent etcd list`): {}",
                self.setting("if there is none, add another to clusterCIDRs in", file)
            ),
        }
    }

    /// Pods of a node live in ranges that are not its any more.
    pub fn outside(self, node: &str, file: &str) -> String {
        match self {
            Operator => format!(
                "give {node} the range back in {file} on every node; or, where it is to keep its new ranges, \
                 let the runtime make these pods again"
            ),
            Agent(_) => "let the runtime make these pods again, unless flatnet-agent gets the range back, which \
                         it claims by itself while no other node has it"
                .to_owned(),
        }
    }

    /// An address is in no node's range.
    pub fn unheld(self, file: &str) -> String {
        let until = "no pod can have it until a node's flatnet-agent claims its range";
        match self {
            Operator => format!("give the range to a node in {file}"),
            Agent(Kubernetes) => format!("{until} (`kubectl get flatnetblocks`)"),
            Agent(Etcd) => format!("{until} (`flatnet-agent etcd list`)"),
        }
    }

    /// The file cannot be read.
    pub fn missing(self, file: &str) -> String {
        match self {
            Operator => {
                format!("put the cluster's range file there, the same on every node: {file}")
            }
            Agent(engine) => written_again(engine, file),
        }
    }

    /// The file is not what such a file is.
    pub fn damaged(self, file: &str) -> String {
        match self {
            Operator => format!(
                "correct {file} on every node; `flatnet ranges check {file}` tells when it is right"
            ),
            Agent(engine) => written_again(engine, file),
        }
    }

    /// There is no file yet.
    pub fn first(self, file: &str) -> String {
        match self {
            Operator => "see `flatnet ranges init --help`, then do this again".to_owned(),
            Agent(engine) => written_again(engine, file),
        }
    }

    /// The file does not list this node.
    pub fn unlisted(self, network: &str, file: &str) -> String {
        match self {
            Operator => format!(
                "set node in the configuration of network {network} to this node's name in {file}, or leave it \
                 out to have it found by its VTEP"
            ),
            Agent(_) => format!(
                "see what flatnet-agent waits for, or, if for nothing, start it again: it lists this node in \
                 {file} as soon as that has an address and a range, and names it in the configuration of \
                 network {network}"
            ),
        }
    }

    /// Another node goes by another file, perhaps.
    pub fn same_there(self, file: &str) -> String {
        match self {
            Operator => format!(
                "put the same {file} there (`sha256sum` shows whether it is), and run `flatnet sync` there"
            ),
            Agent(_) => "see whether flatnet-agent runs there and hears of the cluster (`flatnet doctor` there)"
                .to_owned(),
        }
    }

    /// No overlay stands on another node.
    pub fn stand_there(self) -> &'static str {
        match self {
            Operator => "run `flatnet sync` there, where no overlay stands yet",
            Agent(_) => "see whether flatnet-agent runs there, where no overlay stands yet",
        }
    }

    /// A network is to leave this node, which the file lists under this name; `path` is where that is.
    pub fn leave(self, network: &str, node: &str, path: &str) -> String {
        let out = match self {
            Operator => {
                return format!(
                    "take away the configuration of network {network}, then the node's entry in the range file \
                     on every node, then the network; or tell --force"
                );
            }
            Agent(Kubernetes) => format!("`kubectl delete node {node}`"),
            Agent(Etcd) => format!("`flatnet-agent etcd forget {node}`"),
        };
        format!(
            "end flatnet-agent here and, if the others go on, {out}, then take away the configuration of \
             network {network} and {path}, then the network; or tell --force"
        )
    }

    /// Something brings back what is taken off the node.
    pub fn kept(self, network: &str) -> String {
        let end = match self {
            Operator => {
                return format!(
                    "a running `flatnet sync --watch` keeps network {network} and would bring it back: take \
                     away its configuration, and the watch lets go of it; or end the watch (`systemctl stop \
                     flatnet-sync`)"
                );
            }
            Agent(Kubernetes) => "take its DaemonSet away, or this node out of it",
            Agent(Etcd) => "end it (`systemctl stop flatnet-agent`)",
        };
        format!(
            "flatnet-agent keeps network {network} and would bring it back: {end}, and end flatnet-sync where \
             that runs"
        )
    }
}

/// Where agents have VTEPs from.
const OF_NODE: &str = "correct the InternalIP of that Node (the kubelet's --node-ip), which flatnet-agent takes for \
                       its VTEP";
const OF_OPTION: &str = "correct --vtep of that node's flatnet-agent (OPTIONS in /etc/default/flatnet-agent, then \
                         `systemctl restart flatnet-agent`)";
const CLAIMS: &str =
    "flatnet-agent claims another block by itself, as long as clusterCIDRs have one that is free";

fn written_again(engine: Engine, file: &str) -> String {
    let log = match engine {
        Kubernetes => "`kubectl logs` of its pod on this node",
        Etcd => "`journalctl -u flatnet-agent`",
    };
    format!(
        "flatnet-agent writes {file} by itself: see whether it runs here, and what it says ({log})"
    )
}

#[cfg(test)]
mod tests;
