use super::*;
use crate::kernel::rules_of_iptables;

fn file(cidrs: &[&str]) -> RangeFile {
    let cidrs = cidrs.join("\", \"");
    let node = r#"{ "name": "a", "vtep": "192.0.2.1", "ranges": ["10.244.1.0/24"] }"#;
    let text = format!(
        r#"{{ "version": 1, "vni": 4096, "clusterCIDRs": ["{cidrs}"], "nodes": [{node}] }}"#
    );
    RangeFile::parse("t.json".as_ref(), text.as_bytes()).unwrap()
}

/// What is found of chains in a cluster of one range of each family.
fn found(chains: &[ForwardChain]) -> Vec<Blockade> {
    let file = file(&["10.244.0.0/16", "fd00:10:244::/56"]);
    blockades(chains, &file, &ways(file.vni, &file.cluster_cidrs))
}

/// A chain out of what iptables prints, with a policy of accept unless that says otherwise.
fn chain(rules: &[&str]) -> ForwardChain {
    let text = format!("-P FORWARD ACCEPT\n{}\n", rules.join("\n"));
    rules_of_iptables(ChainFamily::V4, "filter", &text).unwrap()
}

/// What is wrong about a chain; nothing if pods pass.
fn fault(rules: &[&str]) -> Option<Fault> {
    found(&[chain(rules)]).pop().map(|blockade| blockade.fault)
}

#[test]
fn the_words_name_the_chain_the_rule_and_the_commands() {
    let ends = |rule: &str| ForwardChain { keeper: Keeper::Nft, ..chain(&[rule]) };
    let dropping = ends("-P FORWARD DROP");
    let cases = [
        (
            dropping.clone(),
            "chain FORWARD of table ip filter (nftables) has policy drop, and no rule of it accepts",
            "iptables-nft -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            ForwardChain { family: ChainFamily::V6, ..dropping.clone() },
            "chain FORWARD of table ip6 filter (nftables) has",
            "ip6tables-nft -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            ForwardChain { table: "mangle".into(), ..chain(&["-A FORWARD -j REJECT"]) },
            "chain FORWARD of table ip mangle (legacy iptables) drops packets between pods by its \
             rule 1, `reject`",
            "iptables-legacy -t mangle -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            ForwardChain {
                table: "wall".into(),
                family: ChainFamily::Both,
                ..ends("-A FORWARD -j DROP")
            },
            "chain FORWARD of table inet wall (nftables) drops",
            "nft insert rule inet wall FORWARD iifgroup 0x66001000 accept",
        ),
        (
            ForwardChain {
                table: "firewalld".into(),
                family: ChainFamily::Both,
                ..ends("-A FORWARD -j REJECT")
            },
            "chain FORWARD of table inet firewalld (nftables) drops",
            "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16",
        ),
    ];
    for (chain, what, command) in cases {
        let blockade = found(&[chain]).pop().unwrap();
        assert_eq!(blockade.commands[0], command);
        let words = blockade.to_string();
        assert!(words.starts_with(what), "{words}");
        assert!(words.ends_with(&blockade.commands.join("; ")), "{words}");
    }
}

#[test]
fn a_nest_is_followed_as_the_kernel_does() {
    let nest = ["-N ONE", "-N TWO", "-N THREE", "-A FORWARD -j ONE", "-A ONE -g TWO"];
    let with = |rules: &[&'static str]| fault(&[&nest[..], rules].concat());
    let rule = |text: &str| Some(Fault::Rule(text.into()));
    assert_eq!(with(&[]), None);
    assert_eq!(
        with(&["-A ONE -j ACCEPT", "-A TWO -i docker0 -j ACCEPT", "-A TWO -j DROP"]),
        rule("rule 2 of its chain TWO, `drop` (the way there: ONE > TWO)")
    );
    assert_eq!(
        with(&["-A ONE -j ACCEPT", "-A FORWARD -j DROP"]),
        rule("its rule 2, `drop`"),
        "what a goto led to comes back behind the jump"
    );
    assert_eq!(with(&["-A TWO -s 10.0.0.0/8 -j ACCEPT", "-A FORWARD -j DROP"]), None);
    assert_eq!(with(&["-A TWO -j RETURN", "-A TWO -j DROP"]), None);
    assert_eq!(
        with(&["-A TWO -p tcp -j RETURN", "-A TWO -j DROP", "-A FORWARD -j ACCEPT"]),
        Some(Fault::Some("rule 2 of its chain TWO, `drop` (the way there: ONE > TWO)".into()))
    );
    assert_eq!(
        with(&["-A TWO -p tcp -j RETURN", "-A TWO -j ACCEPT", "-A FORWARD -j DROP"]),
        rule("its rule 2, `drop`"),
        "those that came back"
    );
}

#[test]
fn what_is_dropped_is_told_from_what_may_be() {
    let drop = "-A FORWARD -j DROP";
    let unknown = |text: &str| Some(Fault::Unknown(text.into()));
    for (rules, expected) in [
        (
            &["-A FORWARD -m set --match-set x src -j DROP"][..],
            unknown("its rule 1, `-m set … drop`"),
        ),
        (
            &["-A FORWARD -m set --match-set x src -j ACCEPT", drop],
            unknown("its rule 1, `-m set … accept`"),
        ),
        (&["-A FORWARD -j NFQUEUE --queue-num 1", drop], unknown("its rule 1, `-j NFQUEUE`")),
        (&["-A FORWARD -j NFQUEUE --queue-num 1"], unknown("its rule 1, `-j NFQUEUE`")),
        (&["-A FORWARD -j LOG", "-A FORWARD -m set --match-set x src -j LOG"], None),
        (&["-A FORWARD -j ACCEPT", "-A FORWARD -m set --match-set x src -j DROP"], None),
        (
            &["-A FORWARD -p tcp -m tcp --dport 25 -j REJECT"],
            Some(Fault::Some("its rule 1, `-p tcp … -m tcp … reject`".into())),
        ),
        (
            &["-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT", drop],
            Some(Fault::Rule("its rule 2, `drop`".into())),
        ),
        (&["-A FORWARD -s 10.244.1.0/24 -m conntrack ! --ctstate NEW -j DROP"], None),
        (
            &[
                "-A FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
                "-A FORWARD -m devgroup --dst-group 0x66001000 -j ACCEPT",
                "-A FORWARD -m set --match-set x src -j DROP",
                drop,
            ],
            None,
        ),
    ] {
        assert_eq!(fault(rules), expected, "{rules:?}");
    }
}

#[test]
fn a_chain_that_lets_pods_through_is_no_blockade() {
    for (accepts, apart, why) in [
        (&[][..], true, "nothing is accepted"),
        (&[""], false, "all is accepted"),
        (&["-s 10.244.0.0/16"], false, "the whole network"),
        (&["-s 10.0.0.0/8"], false, "more than it"),
        (&["-s 10.244.1.0/24"], true, "a part of it"),
        (&["! -s 10.244.0.0/16"], true, "all but it"),
        (&["! -s 10.96.0.0/12"], false, "all but others"),
        (&["-i veth+"], true, "nothing from other nodes"),
        (&["-i veth+", "-i flat.4096"], false, "every device it comes by"),
        (&["-o ve+", "-o flat.+"], false, "every device it leaves by"),
        (&["-i veth1"], true, "one pod"),
        (&["! -i docker0"], false, "every device but another"),
        (&["-m devgroup --src-group 0x66001000"], true, "only from pods here"),
        (
            &["-m devgroup --src-group 0x66001000", "-m devgroup --dst-group 0x66001000"],
            false,
            "both",
        ),
        (&["-m devgroup --src-group 7"], true, "another group"),
        (&["-m conntrack --ctstate RELATED,ESTABLISHED"], true, "answers only"),
        (&["-m conntrack --ctstate NEW"], false, "the first packet"),
        (&["-m conntrack --ctstate DNAT"], true, "what is translated"),
    ] {
        let accepts: Vec<String> =
            accepts.iter().map(|asks| format!("-A FORWARD {asks} -j ACCEPT")).collect();
        for end in ["-P FORWARD DROP", "-A FORWARD -j REJECT"] {
            let mut rules: Vec<&str> = accepts.iter().map(String::as_str).collect();
            rules.push(end);
            assert_eq!(fault(&rules).is_some(), apart, "{why}: {rules:?}");
        }
    }
}

#[test]
fn what_stands_on_every_host_is_no_finding() {
    let hosts: [&[&str]; 4] = [
        &[
            "-N DOCKER-USER",
            "-N DOCKER-ISOLATION-STAGE-1",
            "-N DOCKER-ISOLATION-STAGE-2",
            "-N DOCKER",
            "-A FORWARD -j DOCKER-USER",
            "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
            "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -o docker0 -j DOCKER",
            "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
            "-A DOCKER ! -i docker0 -o docker0 -j DROP",
            "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2",
            "-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP",
            "-A DOCKER-USER -j RETURN",
        ],
        &[
            "-N KUBE-FORWARD",
            "-N KUBE-SERVICES",
            "-N KUBE-EXTERNAL-SERVICES",
            "-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer\" -j KUBE-FORWARD",
            "-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
            "-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES",
            "-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name x -j DROP",
            "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
            "-A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m comment --comment \"has no endpoints\" -m tcp --dport 80 -j REJECT",
            "-A KUBE-EXTERNAL-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT",
        ],
        &[
            "-N LIBVIRT_FWI",
            "-N LIBVIRT_FWO",
            "-A FORWARD -j LIBVIRT_FWI",
            "-A FORWARD -j LIBVIRT_FWO",
            "-A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable",
            "-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable",
        ],
        &[
            "-N ts-forward",
            "-A FORWARD -j ts-forward",
            "-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000",
            "-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT",
            "-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP",
            "-A ts-forward -o tailscale0 -j ACCEPT",
            "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ],
    ];
    for rules in hosts {
        assert_eq!(fault(rules), None, "{rules:?}");
    }
}

#[test]
fn the_families_of_the_network_and_of_the_chain_count() {
    let dropping = ForwardChain { family: ChainFamily::V6, ..chain(&["-A FORWARD -j DROP"]) };
    assert_eq!(found(std::slice::from_ref(&dropping)).len(), 1);
    let file = file(&["10.244.0.0/16"]);
    assert_eq!(blockades(&[dropping], &file, &ways(file.vni, &file.cluster_cidrs)), []);
    let mut both = chain(&["-A FORWARD -s 10.244.0.0/16 -j ACCEPT", "-A FORWARD -j DROP"]);
    both.family = ChainFamily::Both;
    let what = found(&[both]).pop().unwrap().what();
    assert!(what.contains(" drops IPv6 packets between pods by its rule 2"), "{what}");
}

#[test]
fn ten_thousand_ranges_are_as_many_ways() {
    let cidrs: Vec<IpNetwork> = (0..10_000_u32)
        .map(|n| format!("10.{}.{}.0/24", n / 250, n % 250).parse().unwrap())
        .collect();
    let devices = 3;
    assert_eq!(ways(4096, &cidrs[..1]).len(), devices);
    assert_eq!(ways(4096, &cidrs[..2]).len(), devices * 4, "all pairs");
    assert_eq!(ways(4096, &cidrs).len(), devices * (3 * cidrs.len() - 2));
}
