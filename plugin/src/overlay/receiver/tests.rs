use std::path::Path;

use flatnet_conf::RangeFile;

use super::*;
use crate::kernel::fake::Fake;
use crate::overlay::desired;

const ALIAS: &str = "flatnet:pods/a";

fn want(vtep: &str) -> VxlanLink {
    let text = format!(
        r#"{{"version":1,"vni":7,"nodes":[{{"name":"a","vtep":"{vtep}","ranges":["10.1.1.0/24"]}}]}}"#
    );
    let file = RangeFile::parse(Path::new("t.json"), text.as_bytes()).unwrap();
    desired::device(&file, &file.nodes[0], 1450, None)
}

fn vxlan(vni: u32, port: u16, local: Option<&str>, special: bool) -> Vxlan {
    let local = local.map(|local| local.parse().unwrap());
    Vxlan { vni, local, port, source_ports: (0, 0), learning: true, special, vrf: None }
}

/// What is said beside a device that is on.
fn beside(vtep: &str, theirs: Vxlan) -> Option<String> {
    let mut fake = Fake::default();
    fake.add("theirs", 1500, &[], LinkKind::Vxlan(theirs));
    let before = fake.clone();
    let error = survey(&mut fake, &want(vtep), ALIAS).err()?;
    assert_eq!(error.code(), 104);
    assert_eq!(fake, before);
    Some(error.to_string())
}

#[test]
fn who_is_in_the_way_is_named() {
    let vni = "the VXLAN device theirs already has VNI 7 (UDP port 4789)";
    let port = "UDP port 4789 is taken by the VXLAN device theirs, with other options";
    let (four, six) = ("192.0.2.1", "2001:db8::1");
    let cases = [
        (four, vxlan(7, 4789, None, false), Some(vni)),
        (four, vxlan(7, 4789, Some(four), false), Some(vni)),
        (six, vxlan(7, 4789, Some(six), false), Some(vni)),
        // Another family has another receiver; one for another VNI is shared.
        (four, vxlan(7, 4789, Some(six), false), None),
        (four, vxlan(8, 4789, Some(four), false), None),
        (four, vxlan(7, 4790, Some(four), false), None),
        // `external` and the like receive otherwise.
        (four, vxlan(0, 4789, None, true), Some(port)),
        (six, vxlan(0, 4789, None, true), Some(port)),
        (four, vxlan(7, 4789, Some(four), true), Some(port)),
        (four, vxlan(0, 4789, Some(six), true), None),
        (four, vxlan(0, 4790, None, true), None),
    ];
    for (vtep, theirs, said) in cases {
        let what = format!("{vtep} {theirs:?}");
        let found = beside(vtep, theirs);
        match said {
            Some(said) => assert!(found.as_ref().is_some_and(|f| f.starts_with(said)), "{what}"),
            None => assert_eq!(found, None, "{what}"),
        }
    }
}

#[test]
fn a_device_that_is_off_holds_no_port() {
    let mut fake = Fake::default();
    fake.add("theirs", 1500, &[], LinkKind::Vxlan(vxlan(0, 4789, None, true)));
    fake.links.get_mut("theirs").unwrap().link.up = false;
    survey(&mut fake, &want("192.0.2.1"), ALIAS).unwrap();
}

#[test]
fn the_device_itself_is_not_in_its_way() {
    let mut fake = Fake::default();
    let want = want("192.0.2.1");
    fake.create_vxlan(&want).unwrap();
    survey(&mut fake, &want, ALIAS).unwrap();
    // Nor when it has to become another.
    fake.links.get_mut("flat.7").unwrap().link.kind =
        LinkKind::Vxlan(vxlan(7, 4789, Some("192.0.2.1"), true));
    survey(&mut fake, &want, ALIAS).unwrap();
    let changed = fake.links["flat.7"].link.clone();
    try_out(&mut fake, &want, &changed).unwrap();
}

#[test]
fn a_foreign_device_of_that_name_is_told_before_anything_is_done() {
    let mut fake = Fake::default();
    fake.add("flat.7", 1500, &[], LinkKind::Veth);
    let error = survey(&mut fake, &want("192.0.2.1"), ALIAS).unwrap_err();
    assert!(error.to_string().contains("flat.7 is no VXLAN device"), "{error}");
}

#[test]
fn a_trial_leaves_nothing() {
    let mut fake = Fake::default();
    let mut old = want("192.0.2.1");
    fake.create_vxlan(&old).unwrap();
    let old_link = fake.links["flat.7"].link.clone();
    let before = fake.links.clone();
    old.vxlan.port = 4790;
    try_out(&mut fake, &old, &old_link).unwrap();
    assert_eq!(fake.links, before);
    fake.ports.push(4790);
    let error = try_out(&mut fake, &old, &old_link).unwrap_err();
    let said =
        "UDP port 4790 is taken by another program (ss -ulpn sport = :4790) or by a VXLAN device";
    assert!(error.to_string().starts_with(said), "{error}");
    assert_eq!(fake.links, before);
}
