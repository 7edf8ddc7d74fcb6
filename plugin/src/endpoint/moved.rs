//! What is left to do in a container when Docker has moved the device there: that the gateways have a MAC, which
//! no protocol would find, and that no router but them is believed. The addresses are Docker's, and so are the routes
//! of one of a container's networks of flatnet: `routed.rs` has those of the others.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::inside::Moved;
use super::known::{Found, Known};
use super::{Endpoints, Outcome, Way, routed, said};
use crate::attachment::finished::is_finished;
use crate::attachment::guards::Guards;
use crate::error::{Error, all};
use crate::kernel::netns::Netns;
use crate::kernel::{
    Change, Event, Heard, Kernel as _, Link, Monitor, Neighbour, Netlink, Observe as _,
};
use crate::overlay::gateway::gateways;

/// Docker makes the container's root file system in between.
const PATIENCE: Duration = Duration::from_secs(120);

/// A device on its way into a container.
pub struct Moving {
    monitor: Monitor,
    veth: String,
    sandbox: String,
    addresses: Vec<IpAddr>,
    /// What is not Docker's to route.
    ways: Vec<Way>,
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} into {}", self.veth, self.sandbox)
    }
}

impl Moving {
    pub(super) fn listen(found: &Found, sandbox: &str, ways: Vec<Way>) -> io::Result<Self> {
        Ok(Self {
            monitor: Monitor::open()?,
            veth: found.record.attachment.veth.clone(),
            sandbox: sandbox.to_owned(),
            addresses: found.record.addresses.clone(),
            ways,
        })
    }

    /// Waits until the device is there and switched on, and does the rest. A device that goes, as with a container
    /// that cannot start, ends it.
    ///
    /// # Errors
    /// It did not come in time, or the kernel refuses.
    pub fn complete(mut self) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut node = Netlink::open().map_err(|e| e.to_string())?;
        loop {
            let Some(end) = node.link(&self.veth).map_err(|e| e.to_string())? else {
                return Ok(());
            };
            if let Some(mut moved) = Moved::find(&end, Path::new(&self.sandbox)).map_err(said)? {
                return moved.complete(&self.addresses, &self.ways).map_err(said);
            }
            if !self.wait(deadline).map_err(|e| e.to_string())? {
                return Err(format!("{self:?}: Docker has not moved it within {PATIENCE:?}"));
            }
        }
    }

    /// Waits for a word about the veth's end on the node.
    fn wait(&mut self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let fds = self.monitor.descriptors().into_iter();
            let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut heard = Heard::default();
            self.monitor.hear(None, &mut heard)?;
            let is_ours = |event: &Event| match event {
                Event::Link(link, _) | Event::LinkGone(link) => link.dev.name == self.veth,
                _ => false,
            };
            if heard.lost || heard.events.iter().any(is_ours) {
                return Ok(true);
            }
        }
    }
}

impl Moved {
    fn complete(&mut self, addresses: &[IpAddr], ways: &[Way]) -> Result<(), Error> {
        let Self { pod, dev, mac } = self;
        Guards::of_pod(addresses).set(pod, &dev.name)?;
        let neighbours = gateways(addresses).into_iter();
        let mut changes: Vec<Change> = neighbours
            .map(|address| Change::PutNeighbour(Neighbour { address, mac: *mac }))
            .collect();
        changes.extend(routed::changes(ways, dev.index));
        Ok(pod.apply(dev, &changes)?)
    }
}

impl Endpoints {
    /// Does what is left to do in all containers: a driver that was ended meanwhile may have left something. `follow`
    /// gets the devices that are still on their way.
    ///
    /// # Errors
    /// All that failed, after everything was tried.
    pub fn mend(&self, follow: &mut dyn FnMut(Moving)) -> Outcome<()> {
        let mut node = Netlink::open().map_err(|e| e.to_string())?;
        let Known { found, problems } = self.all()?;
        let mended = found.iter().map(|found| {
            let holder = &found.record.attachment;
            let end = node.link(&holder.veth).map_err(|e| e.to_string())?.filter(is_finished);
            let (Some(end), Some(sandbox)) = (end, &holder.sandbox) else { return Ok(()) };
            let moving = self.complete(found, &end, sandbox);
            moving.map(|moving| moving.map(&mut *follow)).map_err(|e| format!("{holder}: {e}"))?;
            Ok(())
        });
        all(mended.chain(problems.into_iter().map(Err)))
    }

    fn complete(&self, found: &Found, end: &Link, sandbox: &str) -> Outcome<Option<Moving>> {
        let addresses = &found.record.addresses;
        let ours = || self.ways(&found.conf, &gateways(addresses));
        if let Some(mut moved) = Moved::find(end, Path::new(sandbox)).map_err(said)? {
            let is_dockers = routed::by_docker(&mut moved).map_err(said)?;
            let ways = if is_dockers { Vec::new() } else { ours()? };
            moved.complete(addresses, &ways).map_err(said)?;
            return Ok(None);
        }
        if end.peer_netns.is_some()
            && Netns::open(Path::new(sandbox)).map_err(|e| e.to_string())?.is_none()
        {
            return Ok(None);
        }
        // Of two that are both on their way nothing tells which has Docker's routes. Ours are behind those.
        let ways = if self.is_routed_otherwise(found, sandbox)? { ours()? } else { Vec::new() };
        Moving::listen(found, sandbox, ways).map(Some).map_err(|e| e.to_string())
    }
}
