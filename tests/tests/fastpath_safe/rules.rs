//! A rule that anyone adds is in force for flows on the fast path two seconds later, and what is removed soon
//! lets them pass again.

use flatnet_tests::cluster::UNDERLAY;
use flatnet_tests::node::Node;
use flatnet_tests::stream::{IN_FORCE, Stream, now};

use crate::scene::{Scene, with};

/// Adds rules under which nothing of the streams arrives, and takes them away.
pub fn forbid(streams: &[Stream], add: impl FnOnce(), remove: impl FnOnce()) {
    add();
    let since = now();
    for stream in streams {
        stream.sends_until(since, 2 * IN_FORCE);
        let late = stream.arrived().saturating_sub(since);
        let limit = u64::try_from(IN_FORCE.as_nanos()).expect("seconds");
        assert!(late < limit, "{}: one of {late} ns later arrived", stream.server);
    }
    remove();
    streams.iter().for_each(Stream::goes_on);
}

fn all(nodes: &[&Node], lines: &[&str]) {
    nodes.iter().for_each(|node| lines.iter().for_each(|line| drop(node.netns.exec(line))));
}

/// The flows of all kinds, warm, each time rules are added on the first node, in which all of them begin.
fn in_force(add: &[&str], remove: &[&str]) {
    let scene = Scene::new();
    let streams = scene.warm_streams();
    let node = &scene.nodes()[..1];
    forbid(&streams, || all(node, add), || all(node, remove));
    for (stream, (_, _, nodes)) in streams.iter().zip(scene.flows()) {
        stream.warm(&nodes);
    }
}

const TABLE: &str = "nft add table inet operator";
const GONE: &str = "nft delete table inet operator";

#[test]
fn a_rule_of_nft_in_each_hook_that_pods_packets_pass() {
    let chains = [
        "forward { type filter hook forward priority 0 ; }",
        "prerouting { type filter hook prerouting priority -150 ; }",
        "postrouting { type filter hook postrouting priority 300 ; }",
        // Behind all other rules, also that of the fast path.
        "forward { type filter hook forward priority 2147483647 ; }",
    ];
    for chain in chains {
        let name = chain.split(' ').next().expect("a name");
        let chain = format!("nft add chain inet operator {chain}");
        let rule = format!("nft add rule inet operator {name} meta l4proto udp drop");
        in_force(&[TABLE, &chain, &rule], &[GONE]);
    }
}

#[test]
fn a_chain_whose_policy_is_drop() {
    let chain = "nft add chain inet operator forward { type filter hook forward priority 10 ; policy drop ; }";
    in_force(&[TABLE, chain], &[GONE]);
}

#[test]
fn a_rule_that_rejects() {
    let chain = "nft add chain inet operator forward { type filter hook forward priority 0 ; }";
    let rule = "nft add rule inet operator forward meta l4proto udp reject";
    in_force(&[TABLE, chain, rule], &[GONE]);
}

/// As engines of network policies have it that judge packets themselves: without a word of theirs none passes.
#[test]
fn a_queue_to_a_program() {
    let [add, remove] = ["-I", "-D"].map(|what| {
        ["iptables-legacy", "ip6tables-legacy"]
            .map(|program| format!("{program} {what} FORWARD -p udp -j NFQUEUE --queue-num 100"))
    });
    in_force(&add.each_ref().map(String::as_str), &remove.each_ref().map(String::as_str));
}

#[test]
fn a_rule_of_iptables() {
    for program in ["iptables", "iptables-legacy"] {
        let six = program.replacen("ip", "ip6", 1);
        let [add, remove] = ["-I", "-D"].map(|what| {
            [program, &six].map(|program| format!("{program} {what} FORWARD -p udp -j DROP"))
        });
        in_force(&add.each_ref().map(String::as_str), &remove.each_ref().map(String::as_str));
    }
}

#[test]
fn a_filter_at_the_device_before_any_hook() {
    let scene = Scene::new();
    let streams = scene.warm_streams();
    let node = scene.nodes()[0];
    let veth = scene.near.veth();
    let chain = format!(
        "nft add chain netdev operator in {{ type filter hook ingress device {veth} priority 0 ; policy drop ; }}"
    );
    let add = ["nft add table netdev operator", &chain];
    forbid(&streams, || all(&[node], &add), || all(&[node], &["nft delete table netdev operator"]));
}

/// As engines of network policies do it: addresses in sets, judged in a chain to which pods' packets are sent.
#[test]
fn an_address_that_is_put_into_a_set() {
    let scene = Scene::new();
    let streams = scene.warm_streams();
    let node = scene.nodes()[0];
    let (v4, v6) = (scene.near.v4(), scene.near.v6());
    for line in [
        TABLE,
        "nft add set inet operator denied4 { type ipv4_addr ; }",
        "nft add set inet operator denied6 { type ipv6_addr ; }",
        "nft add chain inet operator pods",
        "nft add rule inet operator pods ip saddr @denied4 drop",
        "nft add rule inet operator pods ip6 saddr @denied6 drop",
        "nft add chain inet operator forward { type filter hook forward priority 0 ; }",
        "nft add rule inet operator forward iifgroup != 0 jump pods",
    ] {
        node.netns.exec(line);
    }
    for (stream, (_, _, nodes)) in streams.iter().zip(scene.flows()) {
        stream.warm(&nodes);
    }
    let change = |what: &str| {
        node.netns.exec(&format!("nft {what} element inet operator denied4 {{ {v4} }}"));
        node.netns.exec(&format!("nft {what} element inet operator denied6 {{ {v6} }}"));
    };
    forbid(&streams, || change("add"), || change("delete"));
}

/// What answers a flow may be forbidden alone.
#[test]
fn a_rule_against_the_answers_alone() {
    let scene = Scene::new();
    let streams = scene.warm_streams();
    let node = scene.nodes()[0];
    let chain = "nft add chain inet operator forward { type filter hook forward priority 0 ; }";
    all(&[node], &[TABLE, chain]);
    for (family, to) in [("ip", scene.near.v4()), ("ip6", scene.near.v6())] {
        node.netns.exec(&format!("nft add rule inet operator forward {family} daddr {to} drop"));
    }
    let since = now();
    for stream in &streams {
        stream.sends_until(since, 2 * IN_FORCE);
        let limit = u64::try_from(IN_FORCE.as_nanos()).expect("seconds");
        assert!(stream.answered().saturating_sub(since) < limit, "{} is answered", stream.server);
        assert!(stream.arrived() > since + limit, "{} still hears", stream.server);
    }
    all(&[node], &[GONE]);
    streams.iter().for_each(Stream::goes_on);
}

#[test]
fn a_connection_that_is_refused_in_the_middle() {
    let scene = Scene::new();
    let [a, b] = scene.nodes();
    let stream = Stream::tcp(&scene.near.netns, &scene.far.netns, scene.far.v4());
    stream.warm(&[a, b]);
    let chain = "nft add chain inet operator forward { type filter hook forward priority 0 ; }";
    let rule = "nft add rule inet operator forward meta l4proto tcp reject with tcp reset";
    all(&[a], &[TABLE, chain, rule]);
    let since = now();
    stream.sends_until(since, 2 * IN_FORCE);
    assert!(stream.arrived() < since + u64::try_from(IN_FORCE.as_nanos()).expect("seconds"));
    all(&[a], &[GONE]);
    // It was reset for good.
    let arrived = stream.arrived();
    stream.sends_until(now(), IN_FORCE);
    assert_eq!(stream.arrived(), arrived);
}

/// Of outer packets, at the node that unwraps them.
#[test]
fn a_rule_against_the_overlays_own_packets() {
    for hook in ["prerouting", "input"] {
        let scene = Scene::new();
        let [a, b] = scene.nodes();
        let streams = scene.warm_streams_to(&scene.far, &[a, b]);
        let chain = format!(
            "nft add chain inet operator {hook} {{ type filter hook {hook} priority 0 ; }}"
        );
        let rule =
            format!("nft add rule inet operator {hook} udp dport 4789 ip daddr {} drop", b.vtep);
        forbid(&streams, || all(&[b], &[TABLE, &chain, &rule]), || all(&[b], &[GONE]));
    }
}

/// Ways of what the node itself sends, as outer packets are: by rules that what it sends on does not meet, and under an address
/// that is its own.
#[test]
fn a_way_that_is_closed_to_what_the_node_itself_sends() {
    for v6_underlay in [false, true] {
        let scene = Scene::of(with(2, v6_underlay, &[]));
        let [a, b] = scene.nodes();
        let streams = scene.warm_streams_to(&scene.far, &[a, b]);
        let family = if v6_underlay { "-6" } else { "-4" };
        let rule =
            |verb: &str| format!("ip {family} rule {verb} pref 10 iif lo to {} prohibit", b.vtep);
        forbid(&streams, || all(&[a], &[&rule("add")]), || all(&[a], &[&rule("del")]));
        streams.iter().for_each(|stream| stream.warm(&[a, b]));

        if v6_underlay {
            // The stack sends under any address there.
            continue;
        }
        let own = |verb: &str| format!("ip addr {verb} {}/24 dev {UNDERLAY}", a.vtep);
        let other = format!("ip addr add 192.168.77.1/32 dev {UNDERLAY}");
        // To its own address, too, as by a default route.
        let way = format!("ip route add 192.168.50.0/24 dev {UNDERLAY} metric 9");
        all(&[a], &[&other, &way]);
        streams.iter().for_each(|stream| stream.warm(&[a, b]));
        forbid(&streams, || all(&[a], &[&own("del")]), || all(&[a], &[&own("add")]));
        streams.iter().for_each(|stream| stream.warm(&[a, b]));
    }
}
