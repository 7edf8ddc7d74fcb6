use super::*;

fn chain(family: ChainFamily, accepts: Vec<Accept>) -> ForwardChain {
    let (table, name) = ("filter".into(), "FORWARD".into());
    ForwardChain { keeper: Keeper::Nft, family, table, name, accepts }
}

fn cidrs() -> Vec<IpNetwork> {
    ["10.244.0.0/16", "fd00:10:244::/56"].map(|cidr| cidr.parse().unwrap()).into()
}

fn apart(family: ChainFamily, accepts: Vec<Accept>) -> bool {
    !blockades(&[chain(family, accepts)], 4096, &cidrs()).is_empty()
}

#[test]
fn the_words_name_the_chain_and_the_commands() {
    let cases = [
        (
            chain(ChainFamily::V4, Vec::new()),
            "chain FORWARD of table ip filter (nftables)",
            "iptables-nft -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            chain(ChainFamily::V6, Vec::new()),
            "chain FORWARD of table ip6 filter (nftables)",
            "ip6tables-nft -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            ForwardChain { keeper: Keeper::Legacy, ..chain(ChainFamily::V4, Vec::new()) },
            "chain FORWARD of table ip filter (legacy iptables)",
            "iptables-legacy -I FORWARD -m devgroup --src-group 0x66001000 -j ACCEPT",
        ),
        (
            ForwardChain { table: "wall".into(), ..chain(ChainFamily::Both, Vec::new()) },
            "chain FORWARD of table inet wall (nftables)",
            "nft insert rule inet wall FORWARD iifgroup 0x66001000 accept",
        ),
    ];
    for (chain, name, command) in cases {
        let found = blockades(&[chain], 4096, &cidrs());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].chain.as_str(), found[0].commands[0].as_str()), (name, command));
        let words = found[0].to_string();
        assert!(
            words.starts_with(name) && words.contains(&found[0].commands.join("; ")),
            "{words}"
        );
    }
}

#[test]
fn a_chain_that_lets_pods_through_is_no_blockade() {
    let all = Accept::default();
    let from = |cidr: &str| Accept { source: Some(cidr.parse().unwrap()), ..Accept::default() };
    let by = |name| Accept { input: Some(name), ..Accept::default() };
    let veths = NamePattern::Beginning("veth".into());
    let overlay = NamePattern::Exactly("flat.4096".into());
    let group = 0x6600_1000;
    let grouped = [
        Accept { input_group: Some(group), ..Accept::default() },
        Accept { output_group: Some(group), ..Accept::default() },
    ];
    for (accepts, expected, why) in [
        (vec![], true, "nothing is accepted"),
        (vec![all], false, "all is accepted"),
        (vec![from("10.244.0.0/16")], false, "the whole network"),
        (vec![from("10.0.0.0/8")], false, "more than it"),
        (vec![from("10.244.1.0/24")], true, "a part of it"),
        (vec![by(veths.clone())], true, "nothing from other nodes"),
        (vec![by(veths), by(overlay)], false, "every device it comes by"),
        (vec![by(NamePattern::Exactly("veth1".into()))], true, "one pod"),
        (grouped[..1].to_vec(), true, "only from pods here"),
        (grouped.to_vec(), false, "from pods here and to pods here"),
        (vec![Accept { input_group: Some(7), ..Accept::default() }], true, "another group"),
    ] {
        assert_eq!(apart(ChainFamily::V4, accepts), expected, "{why}");
    }
    assert!(apart(ChainFamily::Both, vec![from("10.244.0.0/16")]), "IPv6 is not accepted");
}

#[test]
fn a_family_without_pods_does_not_matter() {
    let chains = [chain(ChainFamily::V6, Vec::new())];
    assert_eq!(blockades(&chains, 4096, &cidrs()[..1]), []);
}
