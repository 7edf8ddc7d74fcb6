//! From the pod to the node's routing decision, station by station.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;

use super::hop::{End, Hop, Trace};
use super::overlay;
use super::walk::{AGAIN, SENT, Stop, Walk};
use crate::attachment::side::Side;
use crate::cli::drift::past_other_tables;
use crate::cli::look::Look;
use crate::cli::output::some;
use crate::error::Error;
use crate::firewall::blockade::{self, Device, Way};
use crate::kernel::{Decision, Flow, Link, NamePattern, Observe as _, Origin, Redirect};
use crate::overlay::gateway::gateway;

/// A packet filter is asked about any protocol.
const LIKE_IT: &str = "packets like it";

impl Walk<'_> {
    /// Follows it to its end.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn trace(&mut self) -> Result<Trace, Error> {
        let asked = self.to;
        let end = match self.follow() {
            Ok(end) | Err(Stop::End(end)) => end,
            Err(Stop::Failed(error)) => return Err(error),
        };
        let holder = &self.lease.attachment;
        let from = if holder.sandbox.is_some() { "" } else { ", from the node's end on" };
        let title = format!("{holder} ({}) to {asked}{from}", self.source);
        Ok(Trace { title, hops: std::mem::take(&mut self.hops), end })
    }

    fn follow(&mut self) -> Result<End, Stop> {
        let holder = self.lease.attachment.clone();
        match holder.sandbox {
            Some(_) => self.passes("lease", format!("{} is held by {holder}", self.source)),
            None => {
                let what = format!("{} has no lease here, but leads to {holder}", self.source);
                self.passes("route back", what);
            }
        }
        let on_node = Side::look(&mut self.look().kernel, &holder.veth)?;
        let Some(on_node) = on_node else {
            let what = format!("{}, the node's end of the pod's veth pair, is gone", holder.veth);
            return Err(End::stops("veth", what, AGAIN).into());
        };
        if holder.sandbox.is_some() {
            self.leave_pod(&on_node.link)?;
        }
        self.enter_node(&on_node)?;
        self.translate()?;
        self.filters(&on_node.link)?;
        self.route(on_node.link.dev.index)
    }

    /// The pod's interface, route and neighbour.
    fn leave_pod(&mut self, on_node: &Link) -> Result<(), Stop> {
        let ifname = self.lease.attachment.ifname.clone();
        let side = match &mut self.pod {
            Some(pod) => Side::look(pod, &ifname)?.map(|side| (pod, side)),
            None => None,
        };
        let Some((pod, side)) = side else {
            let what = format!("the pod's network namespace or its {ifname} is gone");
            return Err(End::stops("pod", what, AGAIN).into());
        };
        let gateway = gateway(self.to.is_ipv4());
        let verdict = pod.decide(self.to, SENT)?;
        if !side.link.up {
            return Err(self.drifted("pod", format!("{ifname} is down")));
        }
        if !side.addresses.iter().any(|has| has.ip() == self.source) {
            return Err(self.drifted("pod", format!("{ifname} has lost {}", self.source)));
        }
        let via = match verdict {
            Decision::Local => {
                return Err(End::Arrives(format!("{} is the pod's own address", self.to)).into());
            }
            Decision::Drop(errno) => {
                let what = format!("the pod has no route to {}: {}", self.to, errno.desc());
                return Err(self.drifted("pod", what));
            }
            Decision::Send { dev, gateway } if dev == side.link.dev.index => gateway,
            Decision::Send { dev, .. } => {
                let name = pod.link_by_index(dev)?.map_or_else(String::new, |l| l.dev.name);
                let what = format!("leaves the pod by {name}, which is no interface of flatnet");
                return Err(End::Arrives(what).into());
            }
        };
        if via != Some(gateway) {
            let via = via.map_or("no gateway".to_owned(), |via| via.to_string());
            return Err(self.drifted("pod", format!("its route goes via {via}, not via {gateway}")));
        }
        match side.neighbour(gateway) {
            Some(mac) if Some(mac) == on_node.mac => {
                self.passes("pod", format!("via {gateway} dev {ifname}, MTU {}", side.link.mtu));
                Ok(())
            }
            Some(mac) => {
                let what =
                    format!("it takes {gateway} for {mac}, which is not {}", on_node.dev.name);
                Err(self.drifted("pod", what))
            }
            None => Err(self.drifted("pod", format!("it does not know the MAC of {gateway}"))),
        }
    }

    /// The node's end of the veth pair.
    fn enter_node(&mut self, on_node: &Side) -> Result<(), Stop> {
        let name = &on_node.link.dev.name;
        let spoiled = |what| Err(self.spoiled(&self.lease.attachment, "veth", what));
        if !on_node.link.up {
            return spoiled(format!("{name} is down"));
        }
        if self.to.is_ipv4() && !on_node.forwards() {
            return spoiled(format!("forwarding is off on {name}"));
        }
        let (source, index) = (self.source, on_node.link.dev.index);
        match self.look().kernel.decide(source, SENT)? {
            Decision::Send { dev, .. } if dev == index => {}
            _ => {
                let what = format!("{source} is not routed back to {name}: taken for forged");
                let Look { site, drift, .. } = self.look();
                let mends = drift.changes.changes().any(|(dev, _)| dev == name);
                let mend = past_other_tables(site.file(), source.is_ipv6());
                // The route that leads back is there, but a rule leads to another table before.
                let standing = self.lease.attachment.sandbox.is_some() && !mends;
                return Err(match standing {
                    true => End::stops("veth", what, mend).into(),
                    false => self.spoiled(&self.lease.attachment, "veth", what),
                });
            }
        }
        self.passes("veth", format!("{name}, MTU {}", on_node.link.mtu));
        Ok(())
    }

    /// What rewrites the destination before it is routed: kube-proxy for a Service, above all.
    fn translate(&mut self) -> Result<(), Stop> {
        let to = self.to;
        for Redirect { table, to: places } in self.look().kernel.redirects(to)? {
            let Some((first, _)) = places.first() else {
                let what =
                    format!("{table} names {to}, and leads it nowhere that flatnet understands");
                self.hops.push(Hop { at: "NAT", what, known: false });
                continue;
            };
            let all: Vec<String> = places.iter().map(place).collect();
            self.passes("NAT", format!("{table} leads {to} to {}", some(&all)));
            if all.len() > 1 {
                self.passes("NAT", format!("{first} is followed"));
            }
            self.to = *first;
            break;
        }
        Ok(())
    }

    /// What drops packets that are forwarded.
    fn filters(&mut self, veth: &Link) -> Result<(), Stop> {
        let (to, source) = (self.to, self.source);
        let look = self.look();
        let forwards = look.kernel.sysctl("net/ipv6/conf/all/forwarding")?;
        if to.is_ipv6() && forwards.as_deref() != Some("1") {
            return Err(self.drifted("filters", "net.ipv6.conf.all.forwarding is off"));
        }
        let decided =
            look.kernel.decide(to, Origin::Received { from: source, dev: veth.dev.index })?;
        // What the node takes, or has no way for, is not forwarded.
        let Decision::Send { dev, .. } = decided else { return Ok(()) };
        let Some(output) = look.kernel.link_by_index(dev)? else { return Ok(()) };
        let device = |link: &Link| Device {
            name: NamePattern::Exactly(link.dev.name.clone()),
            group: link.group,
        };
        let way = Way {
            input: device(veth),
            output: device(&output),
            source: source.into(),
            destination: to.into(),
        };
        let blockades = blockade::look_at(&mut look.kernel, look.site.file(), &[way])?;
        if let Some(blockade) = blockades.iter().find(|blockade| blockade.is_certain()) {
            let mend = blockade.commands.join(" && ");
            return Err(End::stops("filters", blockade.does_with(LIKE_IT), mend).into());
        }
        for blockade in &blockades {
            self.hops.push(Hop { at: "filters", what: blockade.does_with(LIKE_IT), known: false });
        }
        if blockades.is_empty() {
            self.passes("filters", "no chain of another program drops it");
        }
        Ok(())
    }

    /// There is a way, but not for what comes from this pod: by the way back of the answers it is taken for
    /// forged (`fib_validate_source` in the kernel), or forwarding is off.
    fn not_taken(&mut self, veth: u32, errno: Errno) -> Result<Stop, Stop> {
        let (to, source) = (self.to, self.source);
        let look = self.look();
        let answers = Flow { source: Some(to), ..Flow::default() };
        let astray = match look.kernel.decide(source, Origin::Sent(answers))? {
            Decision::Send { dev, .. } if dev != veth => look.kernel.link_by_index(dev)?,
            _ => None,
        };
        let Some(link) = astray else {
            let what = format!("the kernel does not forward it: {}", errno.desc());
            return Ok(self.drifted("route", what));
        };
        let mend = past_other_tables(look.site.file(), source.is_ipv6());
        let what = format!(
            "packets from {to} to {source} leave by {}, so this one is taken for forged: a rule leads them to \
             another table before the main one (`ip rule`)",
            link.dev.name
        );
        Ok(End::stops("route", what, mend).into())
    }

    /// What the node's kernel decides.
    fn route(&mut self, veth: u32) -> Result<End, Stop> {
        let (to, source) = (self.to, self.source);
        let kernel = &mut self.look().kernel;
        match kernel.decide(to, Origin::Received { from: source, dev: veth })? {
            Decision::Local => {
                self.passes("route", format!("{to} is an address of this node"));
                Ok(End::Arrives("arrives at this node".into()))
            }
            // For what comes in, the kernel has one errno for all reasons (inet_rtm_getroute).
            Decision::Drop(errno) => match kernel.decide(to, SENT)? {
                Decision::Drop(errno) => Err(overlay::no_route(self, errno)),
                _ => Err(self.not_taken(veth, errno)?),
            },
            Decision::Send { dev, gateway } => match kernel.link_by_index(dev)? {
                Some(link) => overlay::go(self, &link, gateway),
                None => Err(self.drifted("route", "its device is gone")),
            },
        }
    }
}

/// An address, with the port if the packet gets another.
fn place((address, port): &(IpAddr, Option<u16>)) -> String {
    match port {
        Some(port) => SocketAddr::new(*address, *port).to_string(),
        None => address.to_string(),
    }
}
