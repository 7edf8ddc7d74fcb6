use super::*;

/// What is told of one thing, by who writes the file: an operator, an agent of Kubernetes, one of etcd.
type Row = (fn(Author) -> String, [&'static str; 3]);

const FILE: &str = "/f.json";

const TABLE: [Row; 16] = [
    (
        |author| author.setting("give this network another vni in", "the range file"),
        [
            "give this network another vni in the range file",
            "give this network another vni in network.json, of which flatnet-agent's ConfigMap is made (`kubectl apply -k`)",
            "give this network another vni in the --network file of flatnet-agent (/etc/flatnet/network.json) on every node",
        ],
    ),
    (
        |author| author.plugin_setting(r#""mtu": 1400"#, "pods"),
        [
            r#"set "mtu": 1400 in the configuration of network pods on every node and run `flatnet sync` there"#,
            r#"set "mtu": 1400 for the plugin flatnet in conflist of network.json, of which flatnet-agent's ConfigMap is made (`kubectl apply -k`)"#,
            r#"set "mtu": 1400 for the plugin flatnet in conflist of the --network file of flatnet-agent (/etc/flatnet/network.json) on every node"#,
        ],
    ),
    (
        |author| author.vtep(FILE),
        [
            "correct vtep in /f.json",
            "correct the InternalIP of that Node (the kubelet's --node-ip), which flatnet-agent takes for its VTEP",
            "correct --vtep of that node's flatnet-agent (OPTIONS in /etc/default/flatnet-agent, then `systemctl restart flatnet-agent`)",
        ],
    ),
    (
        |author| author.place(FILE),
        [
            "correct node in the network configuration or vtep in /f.json",
            "correct the InternalIP of that Node (the kubelet's --node-ip), which flatnet-agent takes for its VTEP",
            "correct --vtep of that node's flatnet-agent (OPTIONS in /etc/default/flatnet-agent, then `systemctl restart flatnet-agent`)",
        ],
    ),
    (
        |author| author.gone(&["b"], FILE),
        [
            "bring it back, or take it out of /f.json on every node",
            "bring it back, or, if it is gone for good, `kubectl delete node b`",
            "bring it back, or, if it is gone for good, `flatnet-agent etcd forget b`, which the end of its lease does later",
        ],
    ),
    (
        |author| author.gone(&["b", "c"], FILE),
        [
            "bring it back, or take it out of /f.json on every node",
            "bring it back, or, if it is gone for good, `kubectl delete node NAME`",
            "bring it back, or, if it is gone for good, `flatnet-agent etcd forget NAME`, which the end of its lease does later",
        ],
    ),
    (
        |author| author.full("a", FILE, "flatnet sync"),
        [
            "add another range to a in /f.json, put the file on every node, and run `flatnet sync` there",
            "flatnet-agent claims another block by itself, as long as clusterCIDRs have one that is free (`kubectl get flatnetblocks`), where nodes claim blocks; a Node keeps the podCIDRs that it has: have pods run on other nodes",
            "flatnet-agent claims another block by itself, as long as clusterCIDRs have one that is free (`flatnet-agent etcd list`): if there is none, add another to clusterCIDRs in the --network file of flatnet-agent (/etc/flatnet/network.json) on every node",
        ],
    ),
    (
        |author| author.outside("a", FILE),
        [
            "give a the range back in /f.json on every node; or, where it is to keep its new ranges, let the runtime make these pods again",
            "let the runtime make these pods again, unless flatnet-agent gets the range back, which it claims by itself while no other node has it",
            "let the runtime make these pods again, unless flatnet-agent gets the range back, which it claims by itself while no other node has it",
        ],
    ),
    (
        |author| author.unheld("the range file"),
        [
            "give the range to a node in the range file",
            "no pod can have it until a node's flatnet-agent claims its range (`kubectl get flatnetblocks`)",
            "no pod can have it until a node's flatnet-agent claims its range (`flatnet-agent etcd list`)",
        ],
    ),
    (
        |author| author.missing(FILE),
        [
            "put the cluster's range file there, the same on every node: /f.json",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`kubectl logs` of its pod on this node)",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`journalctl -u flatnet-agent`)",
        ],
    ),
    (
        |author| author.damaged(FILE),
        [
            "correct /f.json on every node; `flatnet ranges check /f.json` tells when it is right",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`kubectl logs` of its pod on this node)",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`journalctl -u flatnet-agent`)",
        ],
    ),
    (
        |author| author.first(FILE),
        [
            "see `flatnet ranges init --help`, then do this again",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`kubectl logs` of its pod on this node)",
            "flatnet-agent writes /f.json by itself: see whether it runs here, and what it says (`journalctl -u flatnet-agent`)",
        ],
    ),
    (
        |author| author.unlisted("pods", FILE),
        [
            "set node in the configuration of network pods to this node's name in /f.json, or leave it out to have it found by its VTEP",
            "see what flatnet-agent waits for, or, if for nothing, start it again: it lists this node in /f.json as soon as that has an address and a range, and names it in the configuration of network pods",
            "see what flatnet-agent waits for, or, if for nothing, start it again: it lists this node in /f.json as soon as that has an address and a range, and names it in the configuration of network pods",
        ],
    ),
    (
        |author| format!("{}\n{}", author.same_there(FILE), author.stand_there()),
        [
            "put the same /f.json there (`sha256sum` shows whether it is), and run `flatnet sync` there\n\
             run `flatnet sync` there, where no overlay stands yet",
            "see whether flatnet-agent runs there and hears of the cluster (`flatnet doctor` there)\n\
             see whether flatnet-agent runs there, where no overlay stands yet",
            "see whether flatnet-agent runs there and hears of the cluster (`flatnet doctor` there)\n\
             see whether flatnet-agent runs there, where no overlay stands yet",
        ],
    ),
    (
        |author| author.leave("pods", "a", FILE),
        [
            "take away the configuration of network pods, then the node's entry in the range file on every node, then the network; or tell --force",
            "end flatnet-agent here and, if the others go on, `kubectl delete node a`, then take away the configuration of network pods and /f.json, then the network; or tell --force",
            "end flatnet-agent here and, if the others go on, `flatnet-agent etcd forget a`, then take away the configuration of network pods and /f.json, then the network; or tell --force",
        ],
    ),
    (
        |author| author.kept("pods"),
        [
            "a running `flatnet sync --watch` keeps network pods and would bring it back: take away its configuration, and the watch lets go of it; or end the watch (`systemctl stop flatnet-sync`)",
            "flatnet-agent keeps network pods and would bring it back: take its DaemonSet away, or this node out of it, and end flatnet-sync where that runs",
            "flatnet-agent keeps network pods and would bring it back: end it (`systemctl stop flatnet-agent`), and end flatnet-sync where that runs",
        ],
    ),
];

#[test]
fn what_is_done_depends_on_who_writes_the_file() {
    let authors = [Author::Operator, Author::Agent(Kubernetes), Author::Agent(Etcd)];
    for (advice, told) in TABLE {
        for (author, told) in authors.into_iter().zip(told) {
            assert_eq!(advice(author), told, "{author:?}");
        }
    }
}

/// An error of ours says what to do behind its last semicolon.
#[test]
fn a_setting_is_no_sentence_of_its_own() {
    for author in [Author::Operator, Author::Agent(Kubernetes), Author::Agent(Etcd)] {
        let said = author.setting("set another port in", "the range file");
        assert!(!said.contains(';'), "{said}");
    }
}
