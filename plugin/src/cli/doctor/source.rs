//! Rules that look at where a packet comes from (routing by source): what leaves under this node's own
//! address may be led elsewhere than to the pods.

use std::net::IpAddr;

use super::scene::Scene;
use crate::attachment::unleased;
use crate::cli::drift::past_other_tables;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Flow, Link, Observe as _, Path};

/// Asks for the ways to this node's pods from its VTEP, which programs of the node answer them from.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(scene: &mut Scene<'_>) -> Result<Option<Finding>, Error> {
    let place = &scene.underlay.place;
    // In a VRF the routes from there are others; and nothing leaves under an address that a router translates.
    if place.vrf.is_some() || place.own.is_none() {
        return Ok(None);
    }
    let site = &scene.look.site;
    let vtep = site.node.vtep;
    let mend = past_other_tables(site.file(), vtep.is_ipv6());
    let kernel = &mut scene.look.kernel;
    let (mut pods, mut ends): (Vec<IpAddr>, Vec<Link>) = Default::default();
    for end in unleased::node_ends(kernel, &scene.conf.name)? {
        let routes = kernel.routes(end.dev.index)?.into_iter();
        let mut addresses = routes.map(|route| route.dst.network());
        if let Some(address) = addresses.find(|pod| pod.is_ipv6() == vtep.is_ipv6()) {
            pods.push(address);
            ends.push(end);
        }
    }
    let flow = Flow { source: Some(vtep), ..Flow::default() };
    let plain = kernel.paths(&pods, &Flow::default())?;
    let from_vtep = kernel.paths(&pods, &flow)?;
    let mut led_away = Vec::new();
    for (((pod, end), plain), path) in pods.iter().zip(&ends).zip(plain).zip(from_vtep) {
        let reaches =
            |path: &Option<Path>| path.as_ref().is_some_and(|path| path.dev == end.dev.index);
        if reaches(&plain) && !reaches(&path) {
            led_away.push(pod.to_string());
        }
    }
    if led_away.is_empty() {
        return Ok(None);
    }
    Ok(Some(Finding::run(
        format!(
            "packets from {vtep}, which is this node, to its pods {} do not take flatnet's routes: a rule \
             leads them to another table before the main one (`ip rule`)",
            some(&led_away)
        ),
        "programs of this node, a kubelet's probes above all, and these pods do not reach each other",
        mend,
    )))
}
