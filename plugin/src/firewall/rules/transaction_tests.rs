//! What is sent to the kernel for our rules.

use super::tests::policy;
use super::{Masquerade, Policy};
use crate::kernel::nft::model::Model;

fn one_family() -> Policy {
    let both = policy(&["192.168.50.1", "192.168.50.2"], &["10.244.0.0/16"]);
    Policy { underlay: vec!["eth0".into()], ..both }
}

#[test]
fn builds_all_in_an_empty_namespace() {
    let want = one_family();
    assert_eq!(
        Model::default().replace(&want.rules()),
        [
            "add the table",
            "add set vteps-7",
            "add elements of set vteps-7",
            "add set cluster4-7",
            "add elements of set cluster4-7",
            "add chain source-7",
            "add rule \"pods: by the underlay\" to chain source-7",
            "add rule \"pods: spoofed source\" to chain source-7",
            "add chain vxlan-7",
            "add rule \"pods: overlay packet\" to chain vxlan-7",
            "add rule \"pods: overlay packet\" to chain vxlan-7",
            "add rule \"pods: VXLAN from a pod\" to chain vxlan-7",
            "add rule \"pods: overlay packet between peers\" to chain vxlan-7",
            "add rule \"pods: overlay packet between peers\" to chain vxlan-7",
            "add rule \"pods: overlay packet from no VTEP\" to chain vxlan-7",
            "add rule \"pods: overlay packet to no VTEP\" to chain vxlan-7",
            "add rule \"pods: not wrapped\" to chain vxlan-7",
            "add rule \"pods: under a VTEP's address\" to chain vxlan-7",
            "add chain path-mtu-7",
            "add rule \"pods: path MTU to no pod\" to chain path-mtu-7",
            "add rule \"pods: path MTU to the node\" to chain path-mtu-7",
            "add chain pod-7",
            "add rule \"pods: spoofed source\" to chain pod-7",
            "add rule \"pods: to the loopback\" to chain pod-7",
            "add rule \"pods: to the gateway\" to chain pod-7",
            "add rule \"pods: path MTU from a pod\" to chain pod-7",
            "add chain overlay-7",
            "add rule \"pods: wrapped by no peer\" to chain overlay-7",
            "add rule \"pods: unwrapped\" to chain overlay-7",
            "add rule \"pods: path MTU of the underlay\" to chain overlay-7",
            "add chain prerouting-7",
            "add rule \"pods: VXLAN\" to chain prerouting-7",
            "add rule \"pods: from a pod\" to chain prerouting-7",
            "add rule \"pods: from the overlay\" to chain prerouting-7",
            "add rule \"pods: a pod's source\" to chain prerouting-7",
            "add chain user-7",
            "add rule \"pods: not the overlay's\" to chain user-7",
            "add rule \"pods: perhaps in pieces\" to chain user-7",
            "add chain program-7",
            "add rule \"pods: to where they should not\" to chain program-7",
            "add rule \"pods: to a pod\" to chain program-7",
            "add chain output-7",
            "add rule \"pods: by a program\" to chain output-7",
            "add rule \"pods: overlay packet\" to chain output-7",
            "add chain local-7",
            "add rule \"pods: by a program\" to chain local-7",
            "add chain landing-7",
            "add rule \"pods: VXLAN by NAT\" to chain landing-7",
            "add rule \"pods: VXLAN by NAT\" to chain landing-7",
            "add rule \"pods: to the loopback by NAT\" to chain landing-7",
            "add rule \"pods: to the loopback by NAT\" to chain landing-7",
            "add chain departing-7",
            "add rule \"pods: from a VTEP's port\" to chain departing-7",
            "add rule \"pods: VXLAN sent on\" to chain departing-7",
            "add rule \"pods: VXLAN sent on\" to chain departing-7",
            "add rule \"pods: VXLAN by NAT\" to chain departing-7",
            "add rule \"pods: VXLAN by NAT\" to chain departing-7",
            "add rule \"pods: leaves for a node\" to chain departing-7",
            "add chain postrouting-7",
            "add rule \"pods: leaves the pod network\" to chain postrouting-7",
            "add rule \"pods: enters the pod network\" to chain postrouting-7",
        ]
    );
}

#[test]
fn what_the_rules_lead_to_goes_behind_them() {
    let mut kernel = Model::default();
    kernel.replace(&one_family().rules());
    let gone = [
        "delete chain prerouting-7",
        "delete chain landing-7",
        "delete chain output-7",
        "delete chain local-7",
        "delete chain departing-7",
        "delete chain postrouting-7",
        "delete chain program-7",
        "delete chain user-7",
        "delete chain vxlan-7",
        "delete chain pod-7",
        "delete chain path-mtu-7",
        "delete chain overlay-7",
        "delete chain source-7",
        "delete set cluster4-7",
        "delete set vteps-7",
    ];
    let wider = Policy { cluster_cidrs: vec!["10.0.0.0/8".parse().unwrap()], ..one_family() };
    let actions = kernel.replace(&wider.rules());
    assert_eq!(actions[..15], gone);
    assert_eq!(actions[15..], Model::default().replace(&wider.rules())[1..]);

    // Not the table, which another network needs.
    kernel.replace(&Policy { vni: 8, ..one_family() }.rules());
    assert_eq!(kernel.remove(7), gone);
    assert_eq!(kernel.remove(8), ["delete the table"]);
}

#[test]
fn without_masquerade_its_chain_goes() {
    let plain = Policy { masquerade: Masquerade::Off, ..one_family() };
    let mut kernel = Model::default();
    kernel.replace(&one_family().rules());
    let mut actions = kernel.replace(&plain.rules());
    actions.retain(|action| !action.starts_with("add rule"));
    assert_eq!(
        actions,
        ["delete chain postrouting-7", "flush chain landing-7", "flush chain departing-7",]
    );
    assert_eq!(kernel.replace(&plain.rules()), [""; 0]);
}
