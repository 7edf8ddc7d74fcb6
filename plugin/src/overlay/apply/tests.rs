use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use flatnet_conf::RangeFile;

use super::*;
use crate::firewall::Masquerade;
use crate::kernel::LinkKind;
use crate::kernel::fake::Fake;
use crate::overlay::desired;

fn want() -> Overlay {
    let file = file();
    desired::overlay("pods", &file, &file.nodes[0], 1450, &HashMap::new())
}

/// Applies an overlay of the network `pods` with its rules.
fn apply(kernel: &mut dyn Kernel, want: &Overlay) -> Result<(), Error> {
    let found = kernel.link(&want.link.name)?;
    super::apply(
        kernel,
        want,
        &desired::policy("pods", &file(), &file().nodes[0], &BTreeSet::new(), Masquerade::Off),
        &[],
        Seen { link: found, routes: None },
    )
    .map(drop)
}

fn file() -> RangeFile {
    let text = r#"{"version":1,"vni":7,"nodes":[
        {"name":"a","vtep":"192.0.2.1","ranges":["10.1.1.0/24"]},
        {"name":"b","vtep":"192.0.2.2","ranges":["10.1.2.0/24"]}]}"#;
    RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap()
}

#[test]
fn applying_twice_asks_for_nothing_the_second_time() {
    let mut fake = Fake::default();
    apply(&mut fake, &want()).unwrap();
    let link = &fake.links["flat.7"];
    assert_eq!((link.link.up, link.routes.len(), link.fdb.len()), (true, 1, 1));
    fake.log.clear();
    apply(&mut fake, &want()).unwrap();
    assert_eq!(fake.log, [""; 0]);
}

#[test]
fn a_device_with_a_wrong_port_is_made_anew() {
    let mut fake = Fake::default();
    let mut old = want();
    old.link.vxlan.port = 8472;
    apply(&mut fake, &old).unwrap();
    apply(&mut fake, &want()).unwrap();
    let LinkKind::Vxlan(vxlan) = &fake.links["flat.7"].link.kind else { panic!("no VXLAN") };
    assert_eq!(vxlan.port, 4789);
    let routes: Vec<_> = want().routes.into_iter().map(|(_, route)| route).collect();
    assert_eq!(fake.links["flat.7"].routes, routes);
}

#[test]
fn a_foreign_device_stays_and_is_named() {
    let mut fake = Fake::default();
    fake.add("flat.7", 1500, &["198.51.100.1/24"], LinkKind::Other("bridge".into()));
    let before = fake.clone();
    let error = apply(&mut fake, &want()).unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(error.to_string().contains("flat.7 is no VXLAN device"), "{error}");
    assert_eq!(fake, before);
}

/// What stands when a range file with another port, VTEP family or VNI is refused.
#[test]
fn what_is_refused_leaves_what_stood() {
    let stood = || {
        let mut fake = Fake::default();
        apply(&mut fake, &want()).unwrap();
        fake.ports.push(4790);
        fake.log.clear();
        fake
    };
    let mut other_port = want();
    other_port.link.vxlan.port = 4790;
    let mut fake = stood();
    let before = fake.clone();
    let error = apply(&mut fake, &other_port).unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(error.to_string().contains("UDP port 4790 is taken by another program"), "{error}");
    assert_eq!((&fake.links, &fake.rules), (&before.links, &before.rules));

    // Another VNI: made beside, and gone again.
    let mut file = file();
    (file.vni, file.port) = (8, 4790);
    let moved = desired::overlay("pods", &file, &file.nodes[0], 1450, &HashMap::new());
    let policy = desired::policy("pods", &file, &file.nodes[0], &BTreeSet::new(), Masquerade::Off);
    let mut fake = stood();
    let earlier = [fake.links["flat.7"].link.dev.index];
    let error = super::apply(&mut fake, &moved, &policy, &earlier, Seen::default()).unwrap_err();
    assert!(error.to_string().contains("UDP port 4790 is taken by another program"), "{error}");
    assert_eq!((&fake.links, &fake.rules), (&before.links, &before.rules));
    assert_eq!(fake.unreachable, before.unreachable);

    // With a port that can be had both stand, until the caller retires the old one.
    file.port = 4789;
    let moved = desired::overlay("pods", &file, &file.nodes[0], 1450, &HashMap::new());
    super::apply(&mut fake, &moved, &policy, &earlier, Seen::default()).unwrap();
    assert!(fake.links["flat.8"].link.up);
    assert_eq!(fake.links["flat.7"].addresses, before.links["flat.7"].addresses);
}

#[test]
fn what_a_killed_trial_left_goes() {
    let mut fake = Fake::default();
    apply(&mut fake, &want()).unwrap();
    let before = fake.links.clone();
    let mut left = want().link;
    left.name = "flat.7~".into();
    left.vxlan.port = 4790;
    fake.create_vxlan(&left).unwrap();
    apply(&mut fake, &want()).unwrap();
    assert_eq!(fake.links, before);
}

#[test]
fn another_network_with_the_same_vni_changes_nothing() {
    let mut fake = Fake::default();
    apply(&mut fake, &want()).unwrap();
    let before = fake.clone();
    let theirs = desired::overlay("storage", &file(), &file().nodes[0], 1450, &HashMap::new());
    let found = fake.link("flat.7").unwrap();
    let error = super::apply(
        &mut fake,
        &theirs,
        &desired::policy("storage", &file(), &file().nodes[0], &BTreeSet::new(), Masquerade::On),
        &[],
        Seen { link: found, routes: None },
    )
    .unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(
        error
            .to_string()
            .contains("give this network another vni in the range file, or the other one"),
        "{error}"
    );
    assert_eq!(fake, before);
}
