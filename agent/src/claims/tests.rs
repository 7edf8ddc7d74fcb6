use std::collections::{BTreeMap, BTreeSet};

use flatnet_conf::ClusterNetwork;

use super::*;
use crate::cluster::Cluster;
use crate::fixture::{cluster, net, network};
use crate::judge::{Judged, judge};
use crate::source::OwnNode;
use crate::usage::Usage;

/// A node `a` in a situation.
struct Situation {
    cluster: Cluster,
    network: ClusterNetwork,
    own: OwnNode,
    early: bool,
    usage: Option<Usage>,
    former: BTreeSet<IpNetwork>,
    left: BTreeSet<IpNetwork>,
    refused: BTreeMap<IpNetwork, String>,
}

impl Situation {
    /// With these objects; the node has these ranges given, and nothing lives on it.
    fn of(words: &[&str], given: &[&str]) -> Self {
        let ranges = given.iter().map(|text| net(text)).collect();
        Self {
            cluster: cluster(words),
            network: network(),
            own: OwnNode { addresses: vec!["192.0.2.1".parse().unwrap()], ranges },
            early: false,
            usage: Some(Usage::default()),
            former: BTreeSet::new(),
            left: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// So many pods live in a range.
    fn pods(mut self, range: &str, count: usize) -> Self {
        let range = net(range);
        self.usage = Some(range.iter().skip(1).take(count).collect());
        self.former.insert(range);
        self
    }

    fn uncounted(mut self) -> Self {
        self.usage = None;
        self
    }

    fn left(mut self, range: &str) -> Self {
        self.left.insert(net(range));
        self
    }

    fn refused(mut self, range: &str, holder: &str) -> Self {
        self.refused.insert(net(range), holder.to_owned());
        self
    }

    fn decide(&self) -> Decision {
        decide(&self.known(&judge(&self.network, &self.cluster)))
    }

    fn known<'a>(&'a self, judged: &'a Judged) -> Known<'a> {
        Known {
            network: &self.network,
            judged,
            name: "a",
            own: &self.own,
            early: self.early,
            entry: self.cluster.nodes.iter().find(|node| node.name == "a").map(|node| &**node),
            usage: self.usage.as_ref(),
            former: &self.former,
            left: &self.left,
            refused: &self.refused,
        }
    }

    /// Deeds, waits and what leaves, a word for each.
    fn words(&self) -> Vec<String> {
        let Decision { deeds, waits, leaving } = self.decide();
        let deeds = deeds.iter().map(|deed| match deed {
            Deed::PutNode { vtep } => format!("put {vtep}"),
            Deed::Claim(range) => format!("claim {range}"),
            Deed::Reclaim(range) => format!("reclaim {range}"),
            Deed::Retire(range) => format!("retire {range}"),
            Deed::Release(range) => format!("release {range}"),
        });
        let waits = waits.iter().map(|wait| format!("wait: {wait}"));
        let leaving = leaving.iter().map(|range| format!("without {range}"));
        deeds.chain(waits).chain(leaving).collect()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_node_with_nothing_waits_for_what_it_may_be_given() {
    let early = |words: &[&str], claims| {
        let mut situation = Situation::of(words, &[]);
        (situation.early, situation.network.claims) = (true, claims);
        situation.words()
    };
    let known = ["a 192.0.2.1"];
    assert_eq!(early(&known, false), [""; 0]);
    assert_ne!(early(&known, true), [""; 0], "the document says that nodes claim");
    let has_some = early(&["a 192.0.2.1", "10.1.1.0/24 a"], false);
    assert_ne!(has_some, [""; 0], "the other family");
}

#[test]
fn a_new_node_says_where_it_is_and_takes_what_it_is_given() {
    let new = Situation::of(&["b 192.0.2.2", "10.1.2.0/24 b"], &["10.1.1.0/24", "fd00:1::/120"]);
    assert_eq!(new.words(), ["put 192.0.2.1", "claim 10.1.1.0/24", "claim fd00:1::/120"]);
    let done = ["a 192.0.2.1", "10.1.1.0/24 a", "fd00:1::/120 a"];
    let done = Situation::of(&done, &["10.1.1.0/24", "fd00:1::/120"]);
    assert_eq!(done.words(), NOTHING, "what shows is not done again");
}

#[test]
fn an_address_is_of_the_oldest_nodes_family_and_stays() {
    let addresses = |words: &[&str], own: &[&str]| {
        let mut situation = Situation::of(words, &["10.1.1.0/24"]);
        situation.own.addresses = own.iter().map(|text| text.parse().unwrap()).collect();
        situation.words()
    };
    let claim = "claim 10.1.1.0/24";
    assert_eq!(
        addresses(&["b 2001:db8::2"], &["192.0.2.1", "2001:db8::1"]),
        ["put 2001:db8::1", claim]
    );
    assert_eq!(addresses(&[], &["10.1.0.9", "127.0.0.1", "192.0.2.9"]), ["put 192.0.2.9", claim]);
    assert_eq!(addresses(&["a 192.0.2.1"], &["192.0.2.9", "192.0.2.1"]), [claim], "still its own");
    assert_eq!(
        addresses(&["a 192.0.2.1"], &["192.0.2.9"]),
        ["put 192.0.2.9", claim],
        "another now"
    );
    assert_eq!(addresses(&[], &[]), ["wait: the node has no address on the underlay yet"]);
    assert_eq!(
        addresses(&["b 2001:db8::2"], &["192.0.2.1"]),
        ["wait: none of the node's addresses is an IPv6 address outside the pod network"]
    );
    assert_eq!(
        addresses(&["a 192.0.2.1"], &[]),
        [claim, "wait: the node has no address on the underlay yet"],
        "what was said stands"
    );
}

/// Whatever stands in a node's own entry, the others say of which family an address has to be.
#[test]
fn a_wrong_entry_of_its_own_keeps_no_node_from_mending_it() {
    let others = ["b 192.0.2.2", "c 192.0.2.3"];
    for wrong in ["a fd00:77::1", "a 192.0.2.2", "a 10.1.2.3", "a nonsense"] {
        for words in [vec![wrong], vec![wrong, others[0]], vec![others[0], others[1], wrong]] {
            let situation = Situation::of(&words, &["10.1.1.0/24"]);
            assert_eq!(situation.words()[0], "put 192.0.2.1", "{words:?}");
        }
    }
    let right = Situation::of(&["a 192.0.2.1", "b 192.0.2.2"], &["10.1.1.0/24"]);
    assert_eq!(right.words(), ["claim 10.1.1.0/24"]);
    let mut first = Situation::of(&["a 2001:db8::1", "b 192.0.2.2"], &["10.1.1.0/24"]);
    first.own.addresses = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(first.words(), ["claim 10.1.1.0/24"], "what is its own stays, as others go by it");
}

#[test]
fn a_range_that_another_holds_is_waited_for() {
    for (words, expected) in [
        ("10.1.1.0/24 b", "wait: the node is to have 10.1.1.0/24, which b still holds"),
        (
            "10.1.1.128/25 b",
            "wait: the node is to have 10.1.1.0/24, which overlaps 10.1.1.128/25, still held by b",
        ),
    ] {
        let waits = Situation::of(&["a 192.0.2.1", words], &["10.1.1.0/24"]);
        assert_eq!(waits.words(), [expected]);
        assert_eq!(waits.decide().waits[0].holder(), Some("b"));
    }
    let told = Situation::of(&["a 192.0.2.1"], &["10.1.1.0/24"]).refused("10.1.1.0/24", "c");
    assert_eq!(told.words(), ["wait: the node is to have 10.1.1.0/24, which c still holds"]);
}

#[test]
fn a_range_that_cannot_be_one_is_told() {
    let wrong = Situation::of(&["a 192.0.2.1"], &["10.2.0.0/24", "10.1.0.4/31", "10.1.1.0/24"]);
    assert_eq!(
        wrong.words(),
        [
            "claim 10.1.1.0/24",
            "wait: the node was given 10.2.0.0/24, which cannot be used: it is not inside any of clusterCIDRs",
            "wait: the node was given 10.1.0.4/31, which cannot be used: \"10.1.0.4/31\" has no address for a pod: \
             its first address is the node's own, and broadcast and excluded ones are not given; use a larger \
             subnet or exclude less",
        ]
    );
}

#[test]
fn a_range_changed_under_living_pods_is_kept_for_them() {
    let objects = ["a 192.0.2.1", "10.1.1.0/24 a"];
    let given = ["10.1.5.0/24"];
    let lives = Situation::of(&objects, &given).pods("10.1.1.0/24", 1);
    assert_eq!(lives.words(), ["claim 10.1.5.0/24", "retire 10.1.1.0/24"]);

    let both = ["a 192.0.2.1", "10.1.1.0/24 a retiring", "10.1.5.0/24 a"];
    assert_eq!(Situation::of(&both, &given).pods("10.1.1.0/24", 1).words(), NOTHING);
    assert_eq!(Situation::of(&both, &given).uncounted().words(), NOTHING, "nobody has counted");
    let empty = Situation::of(&both, &given);
    assert_eq!(empty.words(), ["without 10.1.1.0/24"], "it is looked at once more");
    let released = empty.left("10.1.1.0/24");
    assert_eq!(released.words(), ["release 10.1.1.0/24", "without 10.1.1.0/24"]);
    let meanwhile = released.pods("10.1.1.0/24", 1);
    assert_eq!(meanwhile.words(), NOTHING, "an ADD was faster");

    let back = Situation::of(&both, &["10.1.1.0/24"]).pods("10.1.5.0/24", 2);
    assert_eq!(back.words(), ["claim 10.1.1.0/24", "retire 10.1.5.0/24"], "given it again");
}

#[test]
fn a_range_that_was_lost_while_pods_live_in_it_is_claimed_again_or_told() {
    let given = ["10.1.5.0/24"];
    let lost = Situation::of(&["a 192.0.2.1", "10.1.5.0/24 a"], &given).pods("10.1.1.0/24", 1);
    assert_eq!(lost.words(), ["reclaim 10.1.1.0/24"]);
    let words = "wait: pods of this node live in 10.1.1.0/24, which b has now: nobody reaches them; restart them";
    let objects = ["a 192.0.2.1", "10.1.5.0/24 a", "10.1.1.0/24 b"];
    let gone = Situation::of(&objects, &given).pods("10.1.1.0/24", 1);
    assert_eq!(gone.words(), [words]);
    assert_eq!(lost.refused("10.1.1.0/24", "b").words(), [words]);
    assert_eq!(Situation::of(&objects, &given).words(), NOTHING, "no pod lives in it");
}

#[test]
fn pods_outlive_their_nodes_objects() {
    let outlive = |situation: Situation| {
        let judged = judge(&situation.network, &situation.cluster);
        outlive(&situation.known(&judged)).deeds
    };
    let gone = || Situation::of(&["b 192.0.2.2"], &[]);
    let vtep = "192.0.2.1".parse().unwrap();
    let again = [Deed::PutNode { vtep }, Deed::Reclaim(net("10.1.1.0/24"))];
    assert_eq!(outlive(gone().pods("10.1.1.0/24", 1)), again);
    assert_eq!(outlive(gone().pods("10.1.1.0/24", 0)), [], "a node that was emptied is gone");
    assert_eq!(outlive(gone().pods("10.1.1.0/24", 1).uncounted()), []);
    let block = Situation::of(&["10.1.1.0/24 a"], &[]).pods("10.1.1.0/24", 1);
    assert_eq!(outlive(block), again[..1]);
}

#[test]
fn a_node_without_given_ranges_claims_one_of_each_family() {
    let new = Situation::of(&[], &[]).decide();
    let [Deed::PutNode { .. }, Deed::Claim(four), Deed::Claim(six)] = new.deeds[..] else {
        panic!("{new:?}")
    };
    assert!(net("10.1.0.0/16").contains(four.network()) && four.prefix() == 24, "{four}");
    assert!(net("fd00:1::/112").contains(six.network()) && six.prefix() == 120, "{six}");
    let again = Situation::of(&[], &[]).decide();
    assert_eq!(again.deeds, new.deeds, "the same choice as long as nothing changes");
    let uncounted = Situation::of(&["a 192.0.2.1"], &[]).uncounted().decide();
    assert_eq!(uncounted.deeds.len(), 2, "the first need not be counted");
}

#[test]
fn what_is_refused_or_held_is_not_chosen() {
    let mut situation = Situation::of(&["a 192.0.2.1"], &[]);
    situation.network.cluster_cidrs.truncate(1);
    for left in (0..=256).rev() {
        let decision = situation.decide();
        match decision.deeds[..] {
            [Deed::Claim(range)] if left % 2 == 0 => {
                situation = situation.refused(&range.to_string(), "b");
            }
            [Deed::Claim(range)] => {
                crate::fixture::add(&mut situation.cluster, &format!("{range} b"), left);
            }
            _ => {
                assert_eq!((left, decision.waits), (0, vec![Wait::Full { ipv4: true }]));
                return;
            }
        }
    }
    panic!("there are 256 blocks");
}

#[test]
fn many_that_come_at_once_seldom_want_the_same() {
    let network = network();
    let judged = Judged::default();
    let own = OwnNode { addresses: vec!["192.0.2.1".parse().unwrap()], ranges: Vec::new() };
    let claims: BTreeSet<String> = (0..50)
        .map(|node| {
            let (former, left, refused) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
            let name = format!("node-{node}");
            let (judged, own, entry, usage) = (&judged, &own, None, None);
            let known = Known {
                network: &network,
                judged,
                name: &name,
                own,
                early: false,
                entry,
                usage,
                former: &former,
                left: &left,
                refused: &refused,
            };
            format!("{:?}", choice::choose(&known, true).unwrap())
        })
        .collect();
    assert!(claims.len() > 40, "{} different ones", claims.len());
}

#[test]
fn a_node_grows_when_few_addresses_are_left() {
    let mut full = Situation::of(&["a 192.0.2.1", "10.1.1.0/24 a"], &[]).pods("10.1.1.0/24", 223);
    full.network.cluster_cidrs.truncate(1);
    let decision = full.decide();
    assert!(matches!(decision.deeds[..], [Deed::Claim(_)]), "31 of 254: {decision:?}");
    full = full.pods("10.1.1.0/24", 222);
    assert_eq!(full.words(), NOTHING, "32 of 254");
    full = full.pods("10.1.1.0/24", 254).uncounted();
    assert_eq!(full.words(), NOTHING, "nobody has counted");

    let two = ["a 192.0.2.1", "10.1.1.0/24 a", "10.1.9.0/24 a"];
    let mut grown = Situation::of(&two, &[]).pods("10.1.1.0/24", 223);
    grown.network.cluster_cidrs.truncate(1);
    assert_eq!(grown.words(), NOTHING);
    grown = grown.pods("10.1.1.0/24", 191);
    assert_eq!(grown.words(), NOTHING, "63 of 254 would be left: it would soon grow again");
    grown = grown.pods("10.1.1.0/24", 190);
    assert_eq!(grown.words(), ["without 10.1.9.0/24"], "64 of 254");
    grown = grown.pods("10.1.9.0/24", 1);
    assert_eq!(grown.words(), NOTHING, "the oldest gives the node's own address, pods or not");
    assert_eq!(grown.left("10.1.9.0/24").words(), NOTHING);
}

#[test]
fn a_node_that_comes_back_takes_the_ranges_that_it_had() {
    let mut back = Situation::of(&["a 192.0.2.1"], &[]);
    back.network.cluster_cidrs.truncate(1);
    back.former.insert(net("10.1.77.0/24"));
    assert_eq!(back.words(), ["reclaim 10.1.77.0/24"]);
    let back = back.refused("10.1.77.0/24", "b");
    let decision = back.decide();
    assert!(matches!(decision.deeds[..], [Deed::Claim(range)] if range != net("10.1.77.0/24")));
}
