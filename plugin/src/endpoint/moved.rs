//! What is left to do in a container when Docker has moved the device there: that the gateways have a MAC, which
//! no protocol would find, and that no router but them is believed. The addresses and routes are Docker's.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::known::Found;
use super::{Endpoints, Outcome, said};
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
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} into {}", self.veth, self.sandbox)
    }
}

impl Moving {
    pub(super) fn listen(found: &Found, sandbox: &str) -> io::Result<Self> {
        Ok(Self {
            monitor: Monitor::open()?,
            veth: found.record.attachment.veth.clone(),
            sandbox: sandbox.to_owned(),
            addresses: found.record.addresses.clone(),
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
            if complete(&end, Path::new(&self.sandbox), &self.addresses).map_err(said)? {
                return Ok(());
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
            let [routes, _] = self.monitor.descriptors();
            match poll(&mut [PollFd::new(routes, PollFlags::POLLIN)], timeout) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut heard = Heard::default();
            self.monitor.hear(&mut heard)?;
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

/// Whether it was there to be done.
fn complete(end: &Link, sandbox: &Path, addresses: &[IpAddr]) -> Result<bool, Error> {
    let (Some(peer), Some(_)) = (end.peer, end.peer_netns) else { return Ok(false) };
    let Some(netns) = Netns::open(sandbox)? else { return Ok(false) };
    let mut pod = Netlink::open_in(netns)?;
    let Some(link) =
        pod.link_by_index(peer)?.filter(|link| link.up && link.peer == Some(end.dev.index))
    else {
        return Ok(false);
    };
    let Some(mac) = end.mac else { return Ok(false) };
    Guards::of_pod(addresses).set(&mut pod, &link.dev.name)?;
    let neighbours = gateways(addresses).into_iter();
    let neighbours = neighbours
        .map(|address| Change::PutNeighbour(Neighbour { address, mac }))
        .collect::<Vec<_>>();
    pod.apply(&link.dev, &neighbours)?;
    Ok(true)
}

impl Endpoints {
    /// Does what is left to do in all containers: a driver that was ended meanwhile may have left something.
    ///
    /// # Errors
    /// All that failed, after everything was tried.
    pub fn mend(&self) -> Outcome<()> {
        let mut node = Netlink::open().map_err(|e| e.to_string())?;
        all(self.all()?.iter().map(|found| {
            let holder = &found.record.attachment;
            let end = node.link(&holder.veth).map_err(|e| e.to_string())?.filter(is_finished);
            let (Some(end), Some(sandbox)) = (end, &holder.sandbox) else { return Ok(()) };
            let done = complete(&end, Path::new(sandbox), &found.record.addresses);
            done.map(drop).map_err(|e| format!("{holder}: {e}"))
        }))
    }
}
