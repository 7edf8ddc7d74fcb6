//! Following a range file in which only peers have changed: nothing is read from the kernel but the ways
//! to those that are new. A look at everything comes behind it.

use std::collections::HashMap;

use flatnet_conf::NetworkConf;

use super::difference::{Difference, part};
use super::drift::whole;
use super::held::{Held, sorted_vteps};
use crate::error::Error;
use crate::kernel::{Dev, FastPath, Journal, Kernel};
use crate::overlay::apply::make;
use crate::overlay::desired::{self, Overlay};
use crate::overlay::fast_path::Found;
use crate::overlay::reconcile::{Observed, Step, key, plan_objects};
use crate::overlay::site::Site;
use crate::overlay::stamp::Stamp;

/// Makes what stands what the new file says; `false`, and nothing is done, if that takes more than a look
/// at what differs. The lock of the network is held meanwhile.
///
/// # Errors
/// Those of [`crate::overlay::site::ensure`]. What has been done by then is found by the look at everything.
pub fn follow(
    held: &mut Held,
    node: &mut Journal<'_>,
    conf: &NetworkConf,
    own: u64,
    site: Site,
) -> Result<bool, Error> {
    let Some(difference) = Difference::of(held.site.file(), site.file(), &site.node) else {
        return Ok(false);
    };
    let (gone, new) = difference.vteps();
    let Some(adjacent) = held.ways.to_more(node, &new)? else { return Ok(false) };
    let dev = Dev { index: held.index, name: held.frame.link.name.clone() };
    let fast_path = match held.standing.programs {
        Some(_) => Found::on(node, Some(&dev))?.path,
        None => None,
    };
    // Whoever has made others since, they are to be told of all peers.
    if fast_path.as_ref().map(FastPath::ids) != held.standing.programs {
        return Ok(false);
    }
    let _lock = site.lock(conf)?;
    if let Some(before) = Stamp::find(conf, own) {
        before.outdate(conf)?;
    }
    let plan = Plan::of(held, conf, &site, &difference, &adjacent);
    let frame = &held.frame;
    if node.change_vteps(frame.link.vxlan.vni, &new, &gone).is_err() {
        // Who else follows the file, an ADD or another upkeep, has taken them out already.
        let takes = held.standing.programs.is_some();
        node.put_rules(&site.policy(conf, &held.ways, takes).rules())?;
    }
    for step in &plan.steps() {
        make(node, &dev, step)?;
    }
    if let Some(path) = fast_path {
        // What was learned by the way to a peer that is another now is void.
        node.renew_fast_path(&path, &plan.want.fdb, &plan.have.fdb)?;
    }
    held.take_over(plan, site);
    held.standing.renew(node, &held.entries.routes)?;
    held.site.stamp(conf, own, &held.standing).write(conf)?;
    Ok(true)
}

/// What should stand for the peers that differ, and what does.
pub struct Plan {
    want: Overlay,
    have: Observed,
}

impl Plan {
    fn of(
        held: &Held,
        conf: &NetworkConf,
        site: &Site,
        difference: &Difference,
        adjacent: &HashMap<std::net::IpAddr, u32>,
    ) -> Self {
        let Held { frame, entries, index, .. } = held;
        let (file, node) = (site.file(), &site.node);
        let of = |peers, adjacent| {
            let part = part(file, node, peers);
            desired::overlay(&conf.name, &part, node, frame.link.mtu, adjacent)
        };
        let mut want = of(&difference.new, adjacent);
        want.link.vxlan.vrf = frame.link.vxlan.vrf;
        want.unreachable = desired::unreachable(file, node);
        let mut have = whole(frame, *index);
        let gone = of(&difference.gone, &HashMap::new());
        let routes = gone.routes.iter();
        have.routes = routes.filter_map(|(_, r)| entries.routes.get(&key(r)).cloned()).collect();
        (have.neighbours, have.fdb) = (gone.neighbours, gone.fdb);
        Self { want, have }
    }

    fn steps(&self) -> Vec<Step> {
        plan_objects(&self.want, &self.have)
    }
}

impl Held {
    /// What was planned stands.
    fn take_over(&mut self, plan: Plan, site: Site) {
        let Plan { want, have } = plan;
        self.entries.forget(&have);
        self.entries.extend(&want.routes, &want.neighbours, &want.fdb);
        self.frame.unreachable = want.unreachable;
        self.vteps = sorted_vteps(&site);
        self.site = site;
    }
}
