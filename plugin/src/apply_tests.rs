use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use flatnet_conf::RangeFile;

use super::*;
use crate::kernel::fake::Fake;
use crate::kernel::{Masquerade, Vxlan};

fn want() -> Overlay {
    let file = file();
    desired::overlay("pods", &file, &file.nodes[0], 1450, &HashMap::new())
}

/// Applies an overlay of the network `pods` with its rules.
fn apply(kernel: &mut dyn Kernel, want: &Overlay) -> Result<(), Error> {
    super::apply(
        kernel,
        want,
        &desired::rules("pods", &file(), &file().nodes[0], &BTreeSet::new(), Masquerade::Off),
    )
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

#[test]
fn a_rival_for_the_vni_is_named() {
    let mut fake = Fake::default();
    let theirs = Vxlan { vni: 7, local: None, port: 4789, source_ports: (0, 0), learning: true };
    fake.add("vxlan7", 1500, &[], LinkKind::Vxlan(theirs));
    let reason = rival(&mut fake, &want()).unwrap().unwrap();
    assert!(reason.starts_with("the VXLAN device vxlan7 already has VNI 7 (UDP port 4789)"));
}

#[test]
fn another_network_with_the_same_vni_changes_nothing() {
    let mut fake = Fake::default();
    apply(&mut fake, &want()).unwrap();
    let before = fake.clone();
    let theirs = desired::overlay("storage", &file(), &file().nodes[0], 1450, &HashMap::new());
    let error = super::apply(
        &mut fake,
        &theirs,
        &desired::rules("storage", &file(), &file().nodes[0], &BTreeSet::new(), Masquerade::On),
    )
    .unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(error.to_string().contains("give each network its own vni"), "{error}");
    assert_eq!(fake, before);
}
