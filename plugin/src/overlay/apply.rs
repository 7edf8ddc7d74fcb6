//! The objects of an overlay in the kernel: observe, plan, apply.
//!
//! What is new is made beside what stands, and what stands goes last: whatever the kernel refuses,
//! pods keep what they have.

use ipnetwork::IpNetwork;

use crate::error::Error;
use crate::firewall::Policy;
use crate::identity::unreachable_metric;
use crate::kernel::{Change, Dev, Kernel, Link, Observe, OurRoutes, Route, RuleSet, Unreachable};
use crate::overlay::desired::{Overlay, Via};
use crate::overlay::receiver;
use crate::overlay::reconcile::{DevicePlan, Observed, Step, plan_device, plan_objects};

/// Where the device comes from whose objects are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It stood.
    Stood,
    /// It was made, where there was none.
    Made,
    /// It was made in the place of one that had to go.
    Anew,
}

/// What stands now.
#[derive(Debug)]
pub struct Made {
    /// The overlay's device.
    pub dev: Dev,
    /// Whether anything of the overlay, rules aside, was different.
    pub changed: bool,
}

/// What was seen of it before, and is not looked at again.
#[derive(Debug, Default)]
pub struct Seen {
    /// The device that has the overlay's name.
    pub link: Option<Link>,
    /// The routes of ours of the VTEPs' family.
    pub routes: Option<OurRoutes>,
}

/// Makes what stands in the kernel into what should stand, with the difference only. `earlier` are
/// the indices of the devices that the network has under other VNIs.
///
/// # Errors
/// Something foreign is in the way (104), or the kernel refuses (103). What this call made where
/// nothing stood does not outlive its failure.
pub fn apply(
    kernel: &mut dyn Kernel,
    want: &Overlay,
    policy: &Policy,
    earlier: &[u32],
    Seen { link: found, routes }: Seen,
) -> Result<Made, Error> {
    receiver::end_trial(kernel, want.link.vxlan.vni)?;
    let network = Network { want, policy, rules: policy.rules(), earlier };
    let made = |dev| Made { dev, changed: true };
    match (plan_device(&want.link, &want.alias, found.as_ref()), found) {
        (DevicePlan::Foreign(clash), _) => Err(clash.into()),
        (DevicePlan::Create, _) | (_, None) => network.make(kernel, routes).map(made),
        (DevicePlan::Keep, Some(link)) => {
            let dev = link.dev.clone();
            network.keep(kernel, link, routes).map(|changed| Made { dev, changed })
        }
        (DevicePlan::Recreate(reason), Some(link)) => {
            network.make_anew(kernel, &link, &reason).map(made)
        }
    }
}

/// What should stand, and what else of the network does.
struct Network<'a> {
    want: &'a Overlay,
    policy: &'a Policy,
    /// The same for the kernel.
    rules: RuleSet,
    /// Indices of devices under other VNIs.
    earlier: &'a [u32],
}

impl Network<'_> {
    /// The device can stay.
    fn keep(
        &self,
        kernel: &mut dyn Kernel,
        mut link: Link,
        routes: Option<OurRoutes>,
    ) -> Result<bool, Error> {
        if link.alias.is_none() {
            self.name(kernel, &mut link)?;
        }
        // Before the device: there is no moment in which outsiders could inject.
        kernel.put_rules(&self.rules)?;
        let have = self.observe(kernel.observing(), link, routes)?;
        let outcome = self.change(kernel, &have, Origin::Stood);
        outcome.map_err(|e| receiver::explain(kernel.observing(), e, &self.want.link))
    }

    /// A device that cannot become what it should be. One of the same VNI and port cannot be made
    /// beside it; that nothing keeps the new one from being made is tried out before.
    fn make_anew(&self, kernel: &mut dyn Kernel, old: &Link, reason: &str) -> Result<Dev, Error> {
        let want = self.want;
        receiver::try_out(kernel, &want.link, old)?;
        log::warn!("{reason}: made again");
        kernel.put_rules(&self.rules)?;
        kernel.delete_link(&want.link.name)?;
        let mut have = Observed::bare(want, kernel.create_vxlan(&want.link)?);
        // Anew: with the device routes by others went, too, which preferred its addresses.
        self.observe_network(kernel.observing(), &mut have, None)?;
        have.routes.retain(|(via, _)| *via != Via::Uplink(old.dev.index));
        let outcome = self.change(kernel, &have, Origin::Anew);
        outcome.map_err(|e| receiver::explain(kernel.observing(), e, &want.link))?;
        Ok(have.link.dev)
    }

    /// There is no device of this name. What is made does not outlive a failure.
    fn make(&self, kernel: &mut dyn Kernel, routes: Option<OurRoutes>) -> Result<Dev, Error> {
        let want = self.want;
        // Those of living pods, whose device was removed by hand, stay in any case.
        let had_rules = kernel.has_rules(self.policy.vni)?;
        let mut have = Observed::bare(want, Dev::none());
        self.observe_network(kernel.observing(), &mut have, routes)?;
        let dev = kernel.create_vxlan(&want.link);
        have.link.dev =
            dev.map_err(|e| receiver::explain(kernel.observing(), e.into(), &want.link))?;
        let outcome = self.fill(kernel, &mut have);
        outcome.map_err(|e| {
            let error = receiver::explain(kernel.observing(), e, &want.link);
            if let Err(e) = self.unmake(kernel, &have, had_rules) {
                log::warn!("cannot undo all of {}: {e}", want.link.name);
            }
            error
        })?;
        Ok(have.link.dev)
    }

    fn fill(&self, kernel: &mut dyn Kernel, have: &mut Observed) -> Result<(), Error> {
        self.name(kernel, &mut have.link)?;
        // Before it is switched on: there is no moment in which outsiders could inject.
        kernel.put_rules(&self.rules)?;
        self.change(kernel, have, Origin::Made).map(drop)
    }

    /// Before all else: it tells the next call whose the device is, and whose the rules are, if this
    /// one is killed.
    fn name(&self, kernel: &mut dyn Kernel, link: &mut Link) -> Result<(), Error> {
        let alias = self.want.alias.clone();
        kernel.apply(&link.dev, &[Change::Alias(alias.clone())])?;
        link.alias = Some(alias);
        Ok(())
    }

    /// Takes away what was made, and puts back what it took the place of.
    fn unmake(
        &self,
        kernel: &mut dyn Kernel,
        have: &Observed,
        had_rules: bool,
    ) -> Result<(), Error> {
        if !had_rules {
            // Before the device, by which the next call finds them if this one is killed.
            kernel.remove_rules(self.policy.vni)?;
        }
        kernel.delete_link(&self.want.link.name)?;
        let new = self.want.unreachable.iter().filter(|route| !have.unreachable.contains(route));
        let forget: Vec<_> = new.cloned().map(Change::DelUnreachable).collect();
        kernel.apply(&have.link.dev, &forget)?;
        let stands = kernel.addresses()?;
        for address in have.earlier.iter().filter(|address| !stands.contains(address)) {
            change_device(kernel, address.0, &[Change::AddAddress(address.1)])?;
        }
        for (via, route) in &have.routes {
            if let Via::Uplink(dev) = via {
                change_device(kernel, *dev, &[Change::PutRoute(route.clone())])?;
            }
        }
        Ok(())
    }

    fn change(
        &self,
        kernel: &mut dyn Kernel,
        have: &Observed,
        origin: Origin,
    ) -> Result<bool, Error> {
        // The underlay's device has put together already what belongs together, and looks into VXLAN
        // for that. Trying again costs each packet a detour through another queue.
        if origin != Origin::Stood || kernel.gro(&have.link.dev)? == Some(true) {
            kernel.switch_off_gro(&have.link.dev)?;
        }
        if self.want.addresses.iter().any(IpNetwork::is_ipv6) {
            // Some administrators switch IPv6 off by default; the network has it by its ranges.
            kernel
                .set_sysctl(&format!("net/ipv6/conf/{}/disable_ipv6", self.want.link.name), "0")?;
        }
        let mut outcome = Ok(());
        let steps = plan_objects(self.want, have);
        for step in &steps {
            let done = make(kernel, &have.link.dev, step);
            // Of a device that had to take another's place, half is better than nothing.
            if origin != Origin::Anew {
                done?;
                continue;
            }
            outcome = outcome.and(done);
        }
        outcome.map(|()| !steps.is_empty())
    }

    fn observe(
        &self,
        kernel: &mut dyn Observe,
        link: Link,
        routes: Option<OurRoutes>,
    ) -> Result<Observed, Error> {
        let dev = link.dev.index;
        let mut is = |setting: &str, wanted: &str| -> Result<bool, Error> {
            let value = kernel.sysctl(&format!("net/ipv4/conf/{}/{setting}", link.dev.name))?;
            Ok(value.is_none_or(|value| value == wanted))
        };
        let mut have = Observed {
            forwards: is("forwarding", "1")? && is("rp_filter", "2")?,
            addresses: kernel.addresses_on(dev)?,
            neighbours: kernel.neighbours(dev)?,
            fdb: kernel.fdb(dev)?,
            ..Observed::of(link)
        };
        self.observe_network(kernel, &mut have, routes)?;
        Ok(have)
    }

    /// What the network has apart from its device, where some of our routes may have been seen.
    fn observe_network(
        &self,
        kernel: &mut dyn Observe,
        have: &mut Observed,
        seen: Option<OurRoutes>,
    ) -> Result<(), Error> {
        let own: Vec<_> = have.addresses.iter().chain(&self.want.addresses).copied().collect();
        let OurRoutes { routes, unreachable } = match seen {
            Some(seen) => seen.and(kernel.our_routes_of(!self.policy.vtep.is_ipv4())?),
            None => kernel.our_routes()?,
        };
        have.routes = routes_of(routes, have.link.dev.index, &own, &self.policy.cluster_cidrs);
        have.unreachable = unreachable_of(unreachable, self.want.link.vxlan.vni);
        if !self.earlier.is_empty() {
            have.earlier = kernel.addresses()?;
            have.earlier.retain(|(dev, _)| self.earlier.contains(dev));
        }
        Ok(())
    }
}

/// Makes one step of a plan, where the overlay is on this device.
///
/// # Errors
/// The kernel refuses.
pub fn make(kernel: &mut dyn Kernel, overlay: &Dev, step: &Step) -> Result<(), Error> {
    match step {
        (Via::Overlay, changes) => Ok(kernel.apply(overlay, changes)?),
        (Via::Uplink(index), changes) => change_device(kernel, *index, changes),
    }
}

/// Changes what hangs on a device, if that is still there: its routes went with it.
///
/// # Errors
/// The kernel refuses.
pub fn change_device(kernel: &mut dyn Kernel, index: u32, changes: &[Change]) -> Result<(), Error> {
    match kernel.link_by_index(index)? {
        Some(link) => Ok(kernel.apply(&link.dev, changes)?),
        None => Ok(()),
    }
}

/// Of our routes those to peers: those over the overlay's device, and those over an uplink that prefer
/// one of the node's own addresses in this network as their source, or lead into the network: no other
/// network has either. (An IPv6 route may lose its source: the kernel clears it with the address.)
fn routes_of(
    ours: Vec<(u32, Route)>,
    overlay: u32,
    own: &[IpNetwork],
    clusters: &[IpNetwork],
) -> Vec<(Via, Route)> {
    let via = |dev, route: &Route| via(dev, route, overlay, own, clusters);
    ours.into_iter().filter_map(|(dev, route)| Some((via(dev, &route)?, route))).collect()
}

/// Which way a route of ours to a peer of this network leads by a device; `None` of any other.
pub fn via(
    dev: u32,
    route: &Route,
    overlay: u32,
    own: &[IpNetwork],
    clusters: &[IpNetwork],
) -> Option<Via> {
    if dev == overlay {
        return Some(Via::Overlay);
    }
    let preferred = || route.source.is_some_and(|ip| own.iter().any(|own| own.ip() == ip));
    let within = || clusters.iter().any(|cluster| cluster.contains(route.dst.network()));
    // A pod's route has no gateway.
    (route.gateway.is_some() && (preferred() || within())).then_some(Via::Uplink(dev))
}

/// Of our unreachable routes those of the network with this VNI.
pub fn unreachable_of(mut ours: Vec<Unreachable>, vni: u32) -> Vec<Unreachable> {
    ours.retain(|route| route.metric == unreachable_metric(vni));
    ours
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
