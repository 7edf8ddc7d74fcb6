//! The fast path of a network on this node: what it needs, and what brings it about and takes it away.
//!
//! Without it all packets go the usual way. So nothing here fails: what stands in the way is logged.

mod entrance;
mod network;
mod obstacle;
mod report;

use std::net::IpAddr;

use flatnet_conf::{FastPath as Configured, NetworkConf};

use crate::firewall::Policy;
use crate::identity::{overlay_name, veth_group};
use crate::kernel::{
    Change, Dev, FastPath, FdbEntry, Filters, Hook, Kernel, KernelError, LinkKind, Observe,
    PathSettings, Standing, fast_path::digest,
};
use crate::overlay::apply::Made;
use crate::overlay::desired::Overlay;
pub use entrance::{Entrance, Unfit, clear as clear_uplinks};
pub use obstacle::Obstacle;
pub use report::{Report, Stands, State};

/// What learning needs, as conntrack does not see the packets of a connection that take the fast path: with 0 and a rule of
/// any program that drops what is invalid, connections hang.
pub const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";

/// Without this setting the programs get no answer which way leads to a peer from this node itself. It opens none: nothing comes
/// in by the loopback but what this node sends to itself.
fn asks_for_ways(vtep: IpAddr) -> &'static str {
    if vtep.is_ipv4() { "net/ipv4/conf/lo/forwarding" } else { "net/ipv6/conf/lo/forwarding" }
}

/// Whether a network is to have a fast path.
pub fn is_wanted(conf: &NetworkConf) -> bool {
    conf.fast_path != Configured::Off
}

/// Which version of the programs a network is to have, and where, if anywhere.
pub fn version(conf: &NetworkConf) -> Option<String> {
    match conf.fast_path {
        Configured::Off => None,
        Configured::On => Some(digest().to_owned()),
        Configured::Uplink => Some(format!("{} uplink", digest())),
    }
}

/// The programs of these numbers, those of a network with this VNI, for a pod that joins it; none where it has no fast
/// path. Costs no question where none is configured.
pub fn of(
    kernel: &mut dyn Observe,
    conf: &NetworkConf,
    vni: u32,
    programs: Option<[u32; 2]>,
) -> Option<FastPath> {
    if !is_wanted(conf) {
        return None;
    }
    let path = programs.and_then(|ids| kernel.find_fast_path(ids).ok());
    if path.is_none() {
        log::info!(
            "{} has no fast path, and no pod on it: `flatnet status --json` may say why",
            overlay_name(vni)
        );
    }
    path
}

/// What there is of a fast path on an overlay's device before anything is changed.
#[derive(Default)]
pub struct Found {
    /// Index of the device, if there is one.
    index: u32,
    filters: Filters,
    /// The programs that it runs, of this executable's version.
    pub path: Option<FastPath>,
}

impl Found {
    /// Looks at it.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn on(kernel: &mut dyn Observe, dev: Option<&Dev>) -> Result<Self, KernelError> {
        let Some(index) = dev.map(|dev| dev.index) else { return Ok(Self::default()) };
        let filters = kernel.filters(index)?;
        let path = filters.programs(false).and_then(|ids| kernel.find_fast_path(ids).ok());
        Ok(Self { index, filters, path })
    }

    /// Whether there is one.
    pub fn stands(&self) -> bool {
        self.path.is_some()
    }
}

/// Brings about what the configuration says of it, on a device that stands; tells the numbers of the programs by which
/// packets take the fast path, if they do. Where something else of the overlay was changed, what was learned is void.
///
/// # Errors
/// The kernel cannot be asked.
pub fn settle(
    kernel: &mut dyn Kernel,
    conf: &NetworkConf,
    want: &Overlay,
    policy: &Policy,
    (found, Made { dev, changed }): (Found, Made),
) -> Result<Option<[u32; 2]>, KernelError> {
    // On a device that was just made there is nothing; but filters may be at uplinks since the time of one that was lost.
    let (found, known) = if found.index == dev.index {
        let known = uplinks(kernel.observing(), &found.filters);
        (found, known)
    } else {
        (Found::default(), network::uplinks(kernel.observing(), want, policy)?)
    };
    let vni = want.link.vxlan.vni;
    if !is_wanted(conf) {
        entrance::settle(kernel, vni, None, &[], &known);
        take_away(kernel, &dev, &found);
        return Ok(None);
    }
    let settings = network::settings(kernel.observing(), want, policy, &dev)?;
    let known = [&settings.uplinks[..], &known].concat();
    let receiving = if conf.fast_path == Configured::Uplink { &settings.uplinks[..] } else { &[] };
    let entrances = (receiving, &known[..]);
    let path = bring_about(kernel, &dev, found, (&settings, &want.fdb), changed, entrances);
    if path.is_none() {
        entrance::settle(kernel, vni, None, &[], &known);
    }
    Ok(path)
}

/// Brings the fast path about on the overlay's device; what there is of it goes where it cannot be. `entrances` are the
/// uplinks at which packets are to be unwrapped, and others at which they may be.
fn bring_about(
    kernel: &mut dyn Kernel,
    dev: &Dev,
    found: Found,
    network: (&PathSettings, &[FdbEntry]),
    renew: bool,
    entrances: (&[u32], &[u32]),
) -> Option<[u32; 2]> {
    match attach(kernel, dev, &found, network, renew, entrances) {
        Ok(path) => Some(path.ids()),
        Err(reason) => {
            log::warn!("no fast path on {}: {reason}; packets go the usual way", dev.name);
            // Some of it may have been made by now.
            let now = Found::on(kernel.observing(), Some(dev)).unwrap_or(found);
            take_away(kernel, dev, &now);
            None
        }
    }
}

fn take_away(kernel: &mut dyn Kernel, dev: &Dev, found: &Found) {
    if let Err(e) = detach(kernel, dev, &found.filters) {
        log::warn!("{e}; the fast path of {} is not taken away", dev.name);
    }
}

/// Why there cannot be one.
fn obstacle(kernel: &mut dyn Observe, filters: &Filters) -> Result<Option<Obstacle>, KernelError> {
    if kernel.has_ipsec()? {
        return Ok(Some(Obstacle::Ipsec));
    }
    Ok(Obstacle::on_device(filters))
}

fn attach(
    kernel: &mut dyn Kernel,
    dev: &Dev,
    found: &Found,
    (settings, peers): (&PathSettings, &[FdbEntry]),
    renew: bool,
    entrances: (&[u32], &[u32]),
) -> Result<FastPath, String> {
    let said = |e: KernelError| e.to_string();
    let Found { filters, path, .. } = found;
    if let Some(reason) = obstacle(kernel.observing(), filters).map_err(said)? {
        return Err(reason.to_string());
    }
    let stood = path.clone();
    let path = stood.map_or_else(|| kernel.load_fast_path(), Ok).map_err(said)?;
    // Before the programs are told of other uplinks: those that they know now are found by them.
    let (receiving, known) = entrances;
    entrance::settle(kernel, settings.vni, Some(&path), receiving, known);
    kernel.configure_fast_path(&path, settings, peers, renew).map_err(said)?;
    let changes = changes(filters, Some(&path));
    if !changes.is_empty() {
        kernel.apply(dev, &changes).map_err(said)?;
    }
    if !found.stands() {
        take_over(kernel, settings.vni, &path).map_err(said)?;
        if let Some(earlier) =
            filters.programs(true).and_then(|ids| kernel.find_fast_path(ids).ok())
        {
            kernel.switch_off_fast_path(&earlier).map_err(said)?;
        }
    }
    kernel.set_sysctl(LIBERAL, "1").map_err(said)?;
    kernel.set_sysctl(asks_for_ways(settings.vtep), "1").map_err(said)?;
    Ok(path)
}

/// Pods that run earlier programs, an older version's or those of a device that was lost, run these from now on.
fn take_over(kernel: &mut dyn Kernel, vni: u32, path: &FastPath) -> Result<(), KernelError> {
    for link in kernel.links()? {
        if link.kind != LinkKind::Veth || link.group != veth_group(vni) {
            continue;
        }
        let filters = kernel.filters(link.dev.index)?;
        if filters.standing.iter().flatten().any(Standing::is_ours) {
            kernel.apply(&link.dev, &changes(&filters, Some(path)))?;
        }
    }
    Ok(())
}

/// The uplinks that the programs know which hang on the overlay's device, of whatever version.
fn uplinks(kernel: &mut dyn Observe, overlay: &Filters) -> Vec<u32> {
    let path = overlay.programs(true).and_then(|ids| kernel.find_fast_path(ids).ok());
    path.and_then(|path| path.uplinks().ok()).unwrap_or_default()
}

/// Takes the fast path away from the overlay's device: nothing takes it any more, wherever the programs still hang.
fn detach(kernel: &mut dyn Kernel, dev: &Dev, filters: &Filters) -> Result<(), KernelError> {
    let programs = filters.programs(true);
    if let Some(path) = programs.and_then(|ids| kernel.find_fast_path(ids).ok()) {
        kernel.switch_off_fast_path(&path)?;
    }
    detach_from(kernel, dev, filters)
}

/// Takes those of a device's filters away that are ours, and the place for filters if it was made for them and nothing
/// else hangs there.
///
/// # Errors
/// The kernel refuses.
pub fn detach_from(
    kernel: &mut dyn Kernel,
    dev: &Dev,
    filters: &Filters,
) -> Result<(), KernelError> {
    let mut changes = changes(filters, None);
    if changes.is_empty() {
        return Ok(());
    }
    if filters.has_place() && kernel.count_filters(dev.index)? <= changes.len() {
        changes = vec![Change::DelClsact];
    }
    kernel.apply(dev, &changes)
}

/// What makes a device's filters those of this path, or takes those of ours away: also where another program has come in the
/// way since. Nothing of another program is changed.
pub fn changes(have: &Filters, want: Option<&FastPath>) -> Vec<Change> {
    let Some(path) = want.filter(|_| Obstacle::on_device(have).is_none()) else {
        let places = Hook::ALL.iter().zip(&have.standing);
        let ours = places.filter(|(_, standing)| standing.as_ref().is_some_and(|it| it.is_ours()));
        return ours.map(|(hook, _)| Change::DelFilter(*hook)).collect();
    };
    let clsact = (!have.clsact).then_some(Change::AddClsact);
    let ours = path.filters(clsact.is_some() || have.has_place());
    let lacking = ours.into_iter().zip(&have.standing).filter(|(filter, standing)| {
        standing.as_ref().is_none_or(|it| it.name != filter.name || it.program != filter.program.id)
    });
    clsact.into_iter().chain(lacking.map(|(filter, _)| Change::PutFilter(filter))).collect()
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::kernel::fake::Fake;

    fn settings(overlay: u32) -> PathSettings {
        PathSettings {
            on: true,
            overlay,
            judged: 0x6700_0007,
            vni: 7,
            port: 4789,
            source_ports: crate::identity::SOURCE_PORTS,
            mtu: 1450,
            vtep: IpAddr::from([192, 0, 2, 1]),
            uplinks: vec![1],
        }
    }

    fn node() -> (Fake, Dev) {
        let mut fake = Fake::default();
        let index = fake.add("flat.7", 1450, &[], LinkKind::Other("vxlan".into()));
        (fake, Dev { index, name: "flat.7".into() })
    }

    fn settle(fake: &mut Fake, dev: &Dev, renew: bool) -> bool {
        let found = Found::on(fake, Some(dev)).unwrap();
        let network = (&settings(dev.index), &[][..]);
        bring_about(fake, dev, found, network, renew, (&[], &[])).is_some()
    }

    #[test]
    fn it_is_loaded_once_and_what_was_learned_is_void_when_something_changed() {
        let (mut fake, dev) = node();
        assert!(settle(&mut fake, &dev, true));
        let (loaded, log) = (fake.programs, fake.log.len());
        assert!(Found::on(&mut fake, Some(&dev)).unwrap().stands());
        for (renew, voided) in [(false, 1), (true, 2)] {
            assert!(settle(&mut fake, &dev, renew));
            assert_eq!((fake.programs, fake.log.len()), (loaded, log), "nothing is made again");
            assert_eq!(fake.settings, Some((settings(dev.index), voided)));
        }
        let found = Found::on(&mut fake, Some(&dev)).unwrap();
        take_away(&mut fake, &dev, &found);
        assert_eq!(fake.links["flat.7"].filters, Filters::default());
        assert_eq!(fake.settings, None, "pods may run the programs still");
    }

    #[test]
    fn nothing_of_it_stands_where_something_is_in_the_way() {
        let spoil: [fn(&mut Fake); 4] = [
            |fake| fake.without_bpf = Some(Errno::EPERM),
            |fake| fake.ipsec = true,
            |fake| set(fake, |filters| filters.shaped = Some("tbf".into())),
            |fake| set(fake, |filters| filters.standing[1] = Some(of_another())),
        ];
        for spoil in spoil {
            let (mut fake, dev) = node();
            spoil(&mut fake);
            let before = fake.links["flat.7"].filters.clone();
            assert!(!settle(&mut fake, &dev, false));
            assert_eq!(fake.links["flat.7"].filters, before);
        }
    }

    fn set(fake: &mut Fake, change: impl Fn(&mut Filters)) {
        fake.links.values_mut().for_each(|link| change(&mut link.filters));
    }

    fn of_another() -> crate::kernel::Standing {
        crate::kernel::Standing { name: "cilium".into(), program: 9 }
    }

    /// Whoever made the place for filters, with or without filters of another program in it.
    #[test]
    fn a_place_for_filters_goes_with_who_made_it() {
        for others in [false, true] {
            let (mut fake, dev) = node();
            set(&mut fake, |filters| filters.clsact = others);
            let before = fake.links["flat.7"].filters.clone();
            // Also where an earlier version's were in it.
            for _ in 0..2 {
                assert!(settle(&mut fake, &dev, false));
                set(&mut fake, |filters| {
                    for it in filters.standing.iter_mut().flatten() {
                        it.name = it.name.replace(digest(), "0");
                    }
                });
            }
            assert!(settle(&mut fake, &dev, false));
            let found = Found::on(&mut fake, Some(&dev)).unwrap();
            assert!(found.stands());
            take_away(&mut fake, &dev, &found);
            assert_eq!(fake.links["flat.7"].filters, before, "{others}");
        }
    }

    #[test]
    fn an_earlier_version_is_replaced_in_its_place() {
        let (mut fake, dev) = node();
        settle(&mut fake, &dev, false);
        let have = |fake: &Fake| fake.links["flat.7"].filters.clone();
        let now = have(&fake);
        set(&mut fake, |filters| {
            filters.standing.iter_mut().flatten().for_each(|it| it.name.insert_str(8, "earlier-"));
        });
        let path = FastPath::planned(40);
        let words: Vec<_> =
            changes(&have(&fake), Some(&path)).iter().map(|change| change.command("d")).collect();
        assert_eq!(words.len(), 2, "no clsact: {words:?}");
        assert!(
            words.iter().all(|words| words.starts_with("tc filter replace dev d ")),
            "{words:?}"
        );
        assert!(settle(&mut fake, &dev, false));
        let names = |filters: Filters| filters.standing.map(|it| it.map(|it| it.name));
        assert_eq!(names(have(&fake)), names(now));
    }
}
