//! Packet filters of others that drop what is forwarded, by policy as Docker does or by rules: ADD says
//! which chain it is, and what it says to do helps. The doctor tells of those, too, that are not understood.

use flatnet_tests::cli::{self, conf_dir, document, run};
use flatnet_tests::cluster::Cluster;
use flatnet_tests::node::{Node, Pod};
use flatnet_tests::probe;
use flatnet_tests::program::bin_dir;
use serde_json::Value;

/// Attaches a pod and tells what was logged.
fn add(node: &Node) -> (Pod, String) {
    let mut pod = Pod::new("pod");
    let outcome = node.call_for("ADD", &pod).run();
    pod.result = outcome.result();
    (pod, outcome.stderr())
}

/// The commands that a log says to run.
fn commands(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.split_once("allow them with: "))
        .flat_map(|(_, commands)| commands.split("; "))
        .collect()
}

/// Pods are apart where these commands have run; ADD names these chains, and what it says helps.
fn named_and_mended(blockade: &[&str], chains: &[&str]) {
    let cluster = Cluster::new(2);
    let mut pods = Vec::new();
    let mut advice = Vec::new();
    for node in &cluster.nodes {
        blockade.iter().for_each(|line| drop(node.netns.exec(line)));
        let (pod, log) = add(node);
        for chain in chains {
            assert!(log.contains(chain), "{chain}: {log}");
        }
        assert_eq!(commands(&log).len(), 2 * chains.len(), "{log}");
        advice.push(log);
        pods.push(pod);
        // Once for each applying of the range file, not for each pod.
        cluster.settle();
        node.forget_overlay();
        let _applied = add(node);
        let (pod, log) = add(node);
        assert_eq!(log, "");
        pods.push(pod);
    }
    let pairs = [(0, 1), (0, 2), (2, 0), (3, 1)].map(|(from, to)| (&pods[from], &pods[to]));
    // One on the same node, one on the other: each lost packet takes its time.
    for (from, to) in &pairs[..2] {
        assert!(to.addresses().iter().all(|to| !probe::reaches(&from.netns, *to)), "{blockade:?}");
    }
    for (node, log) in cluster.nodes.iter().zip(&advice) {
        commands(log).into_iter().for_each(|command| drop(node.netns.exec(command)));
    }
    for (from, to) in pairs {
        to.addresses().into_iter().for_each(|to| probe::ping(&from.netns, to));
    }
    for node in &cluster.nodes {
        node.forget_overlay();
        assert_eq!(add(node).1, "", "{blockade:?}");
    }
}

#[test]
fn iptables_with_a_policy_of_drop() {
    named_and_mended(
        &["iptables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD DROP"],
        &[
            "chain FORWARD of table ip filter (nftables)",
            "chain FORWARD of table ip6 filter (nftables)",
        ],
    );
}

#[test]
fn legacy_iptables_with_a_policy_of_drop() {
    named_and_mended(
        &["iptables-legacy -P FORWARD DROP", "ip6tables-legacy -P FORWARD DROP"],
        &[
            "chain FORWARD of table ip filter (legacy iptables)",
            "chain FORWARD of table ip6 filter (legacy iptables)",
        ],
    );
}

#[test]
fn an_nft_chain_with_a_policy_of_drop() {
    let chain = "{ type filter hook forward priority 5 ; policy drop ; }";
    named_and_mended(
        &["nft add table inet wall", &format!("nft add chain inet wall through {chain}")],
        &["chain through of table inet wall (nftables)"],
    );
}

/// A chain `through` of table `inet wall`, with what else is in the table.
fn wall<'a>(rules: &[&'a str]) -> Vec<&'a str> {
    let chain = "nft add chain inet wall through { type filter hook forward priority 5 ; }";
    [&["nft add table inet wall", chain], rules].concat()
}

#[test]
fn iptables_that_rejects_in_the_end() {
    named_and_mended(
        &[
            "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "iptables-nft -A FORWARD ! -i docker0 -j REJECT --reject-with icmp-host-prohibited",
            "ip6tables-nft -N DENY",
            "ip6tables-nft -A FORWARD -m state ! --state ESTABLISHED -j DENY",
            "ip6tables-nft -A DENY -p ipv6-icmp -m mark --mark 7 -j ACCEPT",
            "ip6tables-nft -A DENY -j REJECT",
        ],
        &[
            "chain FORWARD of table ip filter (nftables) drops packets between pods by its rule 2, \
             `iifname != \"docker0\" reject`",
            "chain FORWARD of table ip6 filter (nftables) drops packets between pods by rule 2 of its \
             chain DENY, `reject`",
        ],
    );
}

#[test]
fn legacy_iptables_that_rejects_in_the_end() {
    named_and_mended(
        &[
            "iptables-legacy -N DENY",
            "iptables-legacy -N LAST",
            "iptables-legacy -A FORWARD -m conntrack ! --ctstate ESTABLISHED -j DENY",
            "iptables-legacy -A DENY -g LAST",
            "iptables-legacy -A LAST -m comment --comment out -j REJECT",
            "ip6tables-legacy -t mangle -A FORWARD -j DROP",
        ],
        &[
            "chain FORWARD of table ip filter (legacy iptables) drops packets between pods by rule 1 of \
             its chain LAST, `reject` (the way there: DENY > LAST)",
            "chain FORWARD of table ip6 mangle (legacy iptables) drops packets between pods by its rule \
             1, `drop`",
        ],
    );
}

#[test]
fn an_nft_chain_that_jumps_to_a_drop() {
    let rules = wall(&[
        "nft add chain inet wall zones",
        "nft add chain inet wall deny",
        "nft add rule inet wall through ct state { established, related } accept",
        "nft add rule inet wall through ct state vmap { invalid : drop, new : jump zones }",
        "nft add rule inet wall through accept",
        "nft add rule inet wall zones iifname docker0 return",
        "nft add rule inet wall zones goto deny",
        "nft add rule inet wall zones accept",
        "nft add rule inet wall deny counter log drop",
    ]);
    named_and_mended(
        &rules,
        &[
            "chain through of table inet wall (nftables) drops packets between pods by rule 1 of its chain \
          deny, `drop` (the way there: zones > deny)",
        ],
    );
}

#[test]
fn an_nft_chain_that_drops_what_is_in_sets() {
    let rules = wall(&[
        "nft add set inet wall pods { type ipv4_addr ; flags interval ; }",
        "nft add element inet wall pods { 10.0.0.0/9, 10.128.0.0/9, 203.0.113.7 }",
        "nft add rule inet wall through iifname { docker0, virbr* } drop",
        "nft add rule inet wall through ip saddr @pods drop",
        "nft add rule inet wall through iifname . ip6 saddr { docker0 . fd00::/8 } drop",
        "nft add rule inet wall through ip6 saddr . ip6 daddr { fd00::/8 . fd00::/8 } reject",
    ]);
    named_and_mended(
        &rules,
        &["chain through of table inet wall (nftables) drops packets between pods by"],
    );
}

/// What the doctor finds of chains.
fn findings(node: &Node) -> Vec<Value> {
    let (folder, bin) = (conf_dir(node, &[]), bin_dir());
    let (folder, bin) = (folder.display().to_string(), bin.display().to_string());
    let output = run(node, "doctor", &["--json", "--conf-dir", &folder, "--cni-bin-dir", &bin]);
    let code = output.status.code().expect("an end");
    let document = document(&output, code);
    assert_eq!(document["failures"], serde_json::json!([]));
    let all = document["findings"].as_array().expect("a list").clone();
    all.into_iter().filter(|finding| finding["check"] == "forward chains").collect()
}

/// The commands behind the last colon of an advice, run.
fn follow(node: &Node, advice: &str) {
    let (_, commands) = advice.rsplit_once(": ").expect("commands");
    commands.split(" && ").for_each(|command| drop(node.netns.exec(command)));
}

#[test]
fn a_chain_that_is_not_understood_is_never_ok() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let (from, to) = (node.add("from"), node.add("to"));
    let (from, to) = (from.v4().to_string(), to.v4().to_string());
    let hop = || {
        let output = cli::flatnet(node, "trace", &[&from, &to, "--json"]);
        let hops = document(&output, 0)["hops"].as_array().expect("a list").clone();
        hops.into_iter().find(|hop| hop["at"] == "filters").expect("a station")
    };
    assert_eq!(findings(node), Vec::<Value>::new());
    assert_eq!(hop()["known"], true);
    for (rules, what) in [
        (
            &["nft add rule inet wall through fib saddr . iif oif missing drop"][..],
            "whether chain through of table inet wall (nftables) drops packets between pods is not known: \
             flatnet does not understand its rule 1, `fib … drop`",
        ),
        (
            &[
                "nft add rule inet wall through fib saddr . iif oif exists accept",
                "nft add rule inet wall through drop",
            ],
            "not known: flatnet does not understand its rule 1, `fib … accept`",
        ),
        (
            &["nft add rule inet wall through limit rate over 10/second drop"],
            "drops some packets between pods by its rule 1, `limit … drop`",
        ),
        (
            &["nft add rule inet wall through tcp dport 25 reject"],
            "drops some packets between pods by its rule 1, `meta l4proto … th … reject`",
        ),
        (
            &["nft add rule inet wall through ip daddr 10.244.1.0/29 drop"],
            "drops some IPv4 packets between pods by its rule 1, `meta nfproto ipv4 ip daddr \
             10.244.1.0-10.244.1.7 drop`",
        ),
    ] {
        wall(rules).into_iter().for_each(|line| drop(node.netns.exec(line)));
        let found = findings(node);
        assert_eq!(found.len(), 1, "{rules:?}: {found:#?}");
        assert!(found[0]["what"].as_str().expect("words").contains(what), "{found:#?}");
        node.forget_overlay();
        let (pod, log) = add(node);
        assert_eq!(log, "", "{rules:?}: ADD tells what is certain");
        node.del(&pod).silent();
        if !rules[0].contains("daddr") {
            assert_eq!(hop()["known"], false, "{rules:?}");
        }
        follow(node, found[0]["advice"].as_str().expect("an advice"));
        assert_eq!(findings(node), Vec::<Value>::new(), "{rules:?}");
        assert_eq!(hop()["known"], true, "{rules:?}");
        node.netns.exec("nft delete table inet wall");
    }
}

#[test]
fn what_kube_proxy_and_libvirt_put_there_is_no_finding() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let _pod = node.add("pod");
    node.netns.exec("ip link add virbr0 type bridge");
    let key = "ipv4_addr . inet_proto . inet_service";
    let map = format!("nft add map inet wall nowhere {{ type {key} : verdict ; }}");
    wall(&[
        &map,
        "nft add chain inet wall refuse",
        "nft add rule inet wall refuse reject",
        "nft add element inet wall nowhere { 10.96.0.1 . tcp . 80 : goto refuse }",
        "nft add rule inet wall through ct state invalid drop",
        "nft add rule inet wall through limit rate 3/minute log",
        "nft add rule inet wall through ip daddr . meta l4proto . th dport vmap @nowhere",
        "nft add rule inet wall through ip daddr 10.96.0.0/12 drop",
        "nft add rule inet wall through fib daddr type local tcp dport 30080 reject",
        "nft add rule inet wall through iif virbr0 reject",
        "nft add rule inet wall through oif lo drop",
        "nft add rule inet wall through iifname vmap { virbr* : drop, docker0 : jump refuse }",
    ])
    .into_iter()
    .for_each(|line| drop(node.netns.exec(line)));
    assert_eq!(findings(node), Vec::<Value>::new());
    node.netns.exec("nft add element inet wall nowhere { 10.244.1.7 . tcp . 80 : goto refuse }");
    let found = findings(node);
    let what = found.first().and_then(|finding| finding["what"].as_str()).expect("a finding");
    assert!(
        what.contains("drops some IPv4 packets between pods by rule 1 of its chain refuse"),
        "{what}"
    );
}

/// What firewalld makes of a node in its default zone. A rule that another program inserts is gone at its next reload.
#[test]
fn firewalld_is_mended_in_its_own_way() {
    let cluster = Cluster::new(2);
    let chain =
        "nft add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; }";
    let rules = [
        "nft add table inet firewalld",
        chain,
        "nft add chain inet firewalld zones",
        "nft add chain inet firewalld filter_FWD_public",
        "nft add chain inet firewalld filter_FWD_trusted",
        "nft add rule inet firewalld filter_FORWARD ct state { established, related } accept",
        "nft add rule inet firewalld filter_FORWARD ct status dnat accept",
        "nft add rule inet firewalld filter_FORWARD iifname lo accept",
        "nft add rule inet firewalld filter_FORWARD ct state invalid drop",
        "nft add rule inet firewalld filter_FORWARD ip6 daddr { ::/96, 2002::/24 } reject",
        "nft add rule inet firewalld filter_FORWARD jump zones",
        "nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited",
        "nft add rule inet firewalld filter_FWD_trusted accept",
        "nft add rule inet firewalld zones goto filter_FWD_public",
    ];
    for node in &cluster.nodes {
        rules.iter().for_each(|rule| drop(node.netns.exec(rule)));
    }
    let pods: Vec<(Pod, String)> = cluster.nodes.iter().map(add).collect();
    let mend = "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16";
    assert!(pods[0].1.contains(mend), "{}", pods[0].1);
    let (from, to) = (&pods[0].0, &pods[1].0);
    assert!(!probe::reaches(&from.netns, to.v4()));
    let node = &cluster.nodes[0];
    let found = findings(node);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        found[0]["what"],
        "chain filter_FORWARD of table inet firewalld (nftables) drops packets between pods by its rule \
         7, `reject`"
    );
    let (passed, end) = cli::trace(node, &from.v4().to_string(), &to.v4().to_string(), 1);
    assert_eq!((passed.last().map(String::as_str), &end["at"]), (Some("veth"), &"filters".into()));
    // What firewalld makes of these commands.
    for node in &cluster.nodes {
        for source in ["ip saddr 10.244.0.0/16", "ip6 saddr fd00:10:244::/56"] {
            let rule =
                format!("nft insert rule inet firewalld zones {source} goto filter_FWD_trusted");
            node.netns.exec(&rule);
        }
    }
    to.addresses().into_iter().for_each(|to| probe::ping(&from.netns, to));
    assert_eq!(findings(node), Vec::<Value>::new());
}

#[test]
fn a_chain_that_accepts_pods_is_not_cried_about() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    node.netns.exec("iptables-nft -P FORWARD DROP");
    let quiet: [&[&str]; 6] = [
        &["-I FORWARD -s 10.244.0.0/16 -j ACCEPT"],
        &["-A FORWARD -d 10.240.0.0/13 -m comment --comment pods -j ACCEPT"],
        &["-A FORWARD -i veth+ -j ACCEPT", "-A FORWARD -i flat.4096 -j ACCEPT"],
        &["-A FORWARD -o veth+ -j ACCEPT", "-A FORWARD -o flat.+ -j ACCEPT"],
        &["-N USER", "-A FORWARD -j USER", "-A USER -s 10.244.0.0/16 -d 10.244.0.0/16 -j ACCEPT"],
        &["-P FORWARD ACCEPT"],
    ];
    let loud: [&[&str]; 6] = [
        &[],
        &["-A FORWARD -s 10.244.1.0/24 -j ACCEPT"],
        &["-A FORWARD ! -s 10.244.0.0/16 -j ACCEPT"],
        &["-A FORWARD -i veth+ -j ACCEPT"],
        &["-A FORWARD -p tcp -s 10.244.0.0/16 -j ACCEPT"],
        &["-N USER", "-A FORWARD -p tcp -j USER", "-A USER -j ACCEPT"],
    ];
    for (rules, said) in
        loud.map(|rules| (rules, true)).into_iter().chain(quiet.map(|r| (r, false)))
    {
        rules.iter().for_each(|rule| drop(node.netns.exec(&format!("iptables-nft {rule}"))));
        let (pod, log) = add(node);
        assert_eq!(!log.is_empty(), said, "{rules:?}: {log}");
        node.del(&pod).silent();
        node.forget_overlay();
        node.netns.exec("iptables-nft -F");
        node.netns.exec("iptables-nft -X");
    }
}
