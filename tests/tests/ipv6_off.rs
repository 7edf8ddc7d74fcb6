//! Nodes whose administrators switch IPv6 off, for all devices or for those that come.

use flatnet_tests::cluster::Cluster;
use flatnet_tests::{kernel, probe, sync};

const ALL: &str = "ipv6/conf/all/disable_ipv6";
const DEFAULT: &str = "ipv6/conf/default/disable_ipv6";

#[test]
fn a_network_with_ipv6_ranges_has_ipv6_all_the_same() {
    for settings in [&[ALL, DEFAULT][..], &[DEFAULT], &[ALL]] {
        let cluster = Cluster::new(2);
        for node in &cluster.nodes {
            settings.iter().for_each(|setting| kernel::set_sysctl(&node.netns, setting, "1"));
        }
        let [a, b] = &cluster.nodes[..] else { unreachable!() };
        let (from, to) = (a.add("from"), b.add("to"));
        for address in to.addresses() {
            probe::ping(&from.netns, address);
        }
        assert_eq!(sync::plan(a), [""; 0], "{settings:?}");
        // Others' devices stay as their administrator wants them.
        let value = kernel::sysctl(&a.netns, "ipv6/conf/under0/disable_ipv6");
        assert_eq!(value, if settings.contains(&ALL) { "1" } else { "0" }, "{settings:?}");
        a.del(&from).silent();
        a.assert_no_attachment();
    }
}

#[test]
fn what_is_switched_off_later_comes_back_with_a_sync() {
    let cluster = Cluster::new(2);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let (from, to) = (a.add("from"), b.add("to"));
    kernel::set_sysctl(&a.netns, ALL, "1");
    assert!(!probe::reaches(&from.netns, to.v6()));
    probe::ping(&from.netns, to.v4());
    sync::apply(a);
    probe::ping(&from.netns, to.v6());
    assert_eq!(sync::plan(a), [""; 0]);
}
