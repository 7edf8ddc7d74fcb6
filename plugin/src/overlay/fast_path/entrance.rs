//! The uplinks at which encapsulated packets are unwrapped at once (`"fastPath": "uplink"`): a filter of each network at each,
//! which has none of another program's in its way and is in no one's. Without it the overlay's device unwraps them.

use std::collections::BTreeSet;
use std::fmt;

use super::obstacle::Obstacle;
use crate::identity::veth_group;
use crate::kernel::{
    Change, FastPath, Filter, Filters, Hook, Kernel, KernelError, Link, LinkKind, Observe, Program,
    Standing, fast_path::receiver_name,
};

/// Why packets are not unwrapped at an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is part of a bridge, a bond or the like, which has rules of its own for what it receives.
    Part,
    /// It is of this kind. What comes in by it has come by other devices, or by programs of this machine.
    Kind(String),
    /// An XDP program sees what it receives first, and may mean more by that than this path knows.
    Xdp,
    /// Another program's things are in the place of the filter.
    Occupied(Obstacle),
}

/// What there is at one uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// The filter stands, of this version.
    Open,
    /// It does not stand.
    Missing,
    /// It is not to stand.
    Unfit(Unfit),
}

impl Unfit {
    /// Judges a device that has an Ethernet header, with the place of this network's filter.
    fn of(link: &Link, filters: &Filters) -> Option<Self> {
        const FIT: [&str; 3] = ["", "bond", "team"];
        match &link.kind {
            _ if link.master.is_some() => return Some(Self::Part),
            LinkKind::Veth => {}
            LinkKind::Other(kind) if FIT.contains(&&kind[..]) => {}
            LinkKind::Other(kind) => return Some(Self::Kind(kind.clone())),
            LinkKind::Vxlan(_) => return Some(Self::Kind("vxlan".to_owned())),
        }
        if link.xdp {
            return Some(Self::Xdp);
        }
        Obstacle::on_device(filters).map(Self::Occupied)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part => f.write_str("it is part of a bridge, a bond or the like"),
            Self::Kind(kind) => write!(f, "it is of the kind {kind}"),
            Self::Xdp => f.write_str("an XDP program receives first"),
            Self::Occupied(obstacle) => obstacle.fmt(f),
        }
    }
}

/// Has packets of this path unwrapped at all of these uplinks that are fit for it, and at none of the others. What is not
/// brought about is logged: the usual way stays.
pub fn settle(
    kernel: &mut dyn Kernel,
    vni: u32,
    path: Option<&FastPath>,
    wanted: &[u32],
    others: &[u32],
) {
    let mut loaded = None;
    for index in wanted.iter().chain(others).collect::<BTreeSet<_>>() {
        let path = path.filter(|_| wanted.contains(index));
        if let Err(e) = settle_at(kernel, vni, *index, path, &mut loaded) {
            log::warn!("{e}; packets of the fast path are not unwrapped there (index {index})");
        }
    }
}

fn settle_at(
    kernel: &mut dyn Kernel,
    vni: u32,
    index: u32,
    path: Option<&FastPath>,
    loaded: &mut Option<Program>,
) -> Result<(), KernelError> {
    let Some(link) = kernel.link_by_index(index)? else { return Ok(()) };
    let filters = kernel.filters_at_uplink(index, vni)?;
    let [standing, _] = &filters.standing;
    let program = match (path, Unfit::of(&link, &filters)) {
        (Some(_), Some(unfit)) => {
            let name = &link.dev.name;
            log::warn!("packets of the fast path are not unwrapped at {name}: {unfit}");
            None
        }
        (Some(path), None) => {
            let number = standing.as_ref().map(|standing| standing.program);
            let found = kernel.receiver(path, number.or(loaded.as_ref().map(|it| it.id)))?;
            *loaded = Some(found.clone());
            Some(found)
        }
        (None, _) => None,
    };
    let mut changes = changes(&filters, program, vni);
    let gone = matches!(&changes[..], [Change::DelFilter(_)]);
    // The place goes if it was made for ours, and nobody else has come to use it.
    if gone && filters.has_place() && kernel.count_filters(index)? <= 1 {
        changes.push(Change::DelClsact);
    }
    if !changes.is_empty() {
        kernel.apply(&link.dev, &changes)?;
    }
    Ok(())
}

/// What makes the filter of this network at an uplink run this program, or takes it away.
fn changes(have: &Filters, program: Option<Program>, vni: u32) -> Vec<Change> {
    let hook = Hook::Uplink(vni);
    let standing = have.standing[0].as_ref();
    let Some(program) = program else {
        let ours = standing.filter(|standing| standing.is_ours());
        return ours.map(|_| Change::DelFilter(hook)).into_iter().collect();
    };
    // Whichever network leaves last takes it along.
    let made_place = standing.map_or(!have.clsact || have.shared, Standing::has_place);
    let name = receiver_name(made_place);
    if standing.is_some_and(|it| it.name == name && it.program == program.id) {
        return Vec::new();
    }
    let place = (!have.clsact).then_some(Change::AddClsact);
    place.into_iter().chain([Change::PutFilter(Filter { hook, name, program })]).collect()
}

/// Takes this network's filters away from all devices of the machine, wherever they were once put.
///
/// # Errors
/// The kernel cannot be asked.
pub fn clear(kernel: &mut dyn Kernel, vni: u32) -> Result<(), KernelError> {
    let links = kernel.links()?.into_iter().filter(|link| link.group != veth_group(vni));
    let all: Vec<u32> = links.map(|link| link.dev.index).collect();
    settle(kernel, vni, None, &[], &all);
    Ok(())
}

/// Looks at one uplink.
///
/// # Errors
/// The kernel cannot be asked.
pub fn look(kernel: &mut dyn Observe, link: &Link, vni: u32) -> Result<Entrance, KernelError> {
    let filters = kernel.filters_at_uplink(link.dev.index, vni)?;
    if let Some(unfit) = Unfit::of(link, &filters) {
        return Ok(Entrance::Unfit(unfit));
    }
    let names = [false, true].map(receiver_name);
    let open = filters.standing[0].as_ref().is_some_and(|standing| names.contains(&standing.name));
    Ok(if open { Entrance::Open } else { Entrance::Missing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::Fake;

    const VNI: u32 = 7;

    fn node() -> (Fake, u32) {
        let mut fake = Fake::default();
        let index = fake.add("eth0", 1500, &[], LinkKind::Other(String::new()));
        (fake, index)
    }

    fn of(fake: &Fake) -> (&Filters, Option<&Standing>) {
        let link = &fake.links["eth0"];
        (&link.filters, link.at_uplink.as_ref())
    }

    #[test]
    fn it_comes_once_and_goes_with_the_place_that_was_made_for_it() {
        let (mut fake, index) = node();
        let path = FastPath::planned(40);
        settle(&mut fake, VNI, Some(&path), &[index], &[]);
        assert_eq!(
            of(&fake).1.map(|it| (&it.name[..], it.program)),
            Some((&receiver_name(true)[..], 42))
        );
        let log = fake.log.len();
        settle(&mut fake, VNI, Some(&path), &[index], &[]);
        assert_eq!(fake.log.len(), log, "it stands");
        settle(&mut fake, VNI, Some(&FastPath::planned(50)), &[index], &[]);
        assert_eq!(
            of(&fake).1.map(|it| (&it.name[..], it.program)),
            Some((&receiver_name(true)[..], 52))
        );
        settle(&mut fake, VNI, None, &[index], &[]);
        assert_eq!(of(&fake), (&Filters::default(), None));
    }

    #[test]
    fn anothers_place_stays() {
        let (mut fake, index) = node();
        let path = FastPath::planned(40);
        fake.links.get_mut("eth0").unwrap().filters.clsact = true;
        settle(&mut fake, VNI, Some(&path), &[index], &[]);
        assert_eq!(of(&fake).1.map(|it| &it.name), Some(&receiver_name(false)));
        settle(&mut fake, VNI, Some(&path), &[], &[index]);
        assert!(of(&fake).0.clsact && of(&fake).1.is_none(), "{:?}", of(&fake));
    }

    #[test]
    fn a_place_that_another_network_has_made_goes_with_the_last() {
        let (mut fake, index) = node();
        let filters = &mut fake.links.get_mut("eth0").unwrap().filters;
        (filters.clsact, filters.shared) = (true, true);
        settle(&mut fake, VNI, Some(&FastPath::planned(40)), &[index], &[]);
        assert_eq!(of(&fake).1.map(|it| &it.name), Some(&receiver_name(true)));
    }

    #[test]
    fn odd_devices_are_left_out() {
        let spoil: [fn(&mut Link); 5] = [
            |link| link.master = Some(9),
            |link| link.xdp = true,
            |link| link.kind = LinkKind::Other("bridge".into()),
            |link| link.kind = LinkKind::Other("vlan".into()),
            |link| link.kind = LinkKind::Other("macvlan".into()),
        ];
        for spoil in spoil {
            let (mut fake, index) = node();
            let path = FastPath::planned(40);
            settle(&mut fake, VNI, Some(&path), &[index], &[]);
            spoil(&mut fake.links.get_mut("eth0").unwrap().link);
            settle(&mut fake, VNI, Some(&path), &[index], &[]);
            assert_eq!(of(&fake), (&Filters::default(), None), "one that was there goes");
        }
    }

    #[test]
    fn what_another_program_has_in_its_place_stays() {
        let (mut fake, index) = node();
        let path = FastPath::planned(40);
        let foreign = Standing { name: "another".into(), program: 3 };
        let link = fake.links.get_mut("eth0").unwrap();
        link.filters.clsact = true;
        link.at_uplink = Some(foreign.clone());
        settle(&mut fake, VNI, Some(&path), &[index], &[]);
        assert_eq!(of(&fake).1, Some(&foreign));
        clear(&mut fake, VNI).unwrap();
        assert_eq!(of(&fake).1, Some(&foreign));
    }
}
