//! Keeping networks as their range files say, whatever happens on the node: what an event names is looked
//! at, and the whole only now and then.
//!
//! An event is compared with what was last made, in memory (`scope.rs`); what differs is put right
//! (`tended.rs`). What an event cannot tell is found by the look at everything that follows in a minute.
//! Where events were lost it follows at once.
//!
//! ```text
//! let mut upkeep = Upkeep::new()?;
//! loop {
//!     if upkeep.wants_configurations() { upkeep.tend(networks, places)?; }
//!     upkeep.look(listener, tell);
//!     upkeep.wait()?;
//! }
//! ```

mod devices;
mod difference;
mod drift;
pub mod fast_path;
mod follow;
mod held;
pub(crate) mod inotify;
pub(crate) mod remove;
mod scope;
pub(crate) mod sync;
mod tended;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flatnet_conf::NetworkConf;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use crate::error::Error;
pub use crate::kernel::Listener;
use crate::kernel::{Heard, Monitor, Netlink, Observe as _};
use crate::logging;
pub use crate::overlay::last_read::LastRead;
use crate::overlay::stamp;
pub use crate::upkeep::sync::SyncReport;
use crate::upkeep::watch::Watch;
use devices::Devices;
use tended::Tended;

/// Who changes one thing in the kernel changes others: wait until it has been quiet for so long ...
const QUIET: Duration = Duration::from_millis(200);
/// ... a file is whole as soon as it is in its place, and has to be known by its times alone ...
const UNCHANGED: Duration = stamp::SETTLED;
/// ... listening in between, and not for each message ...
const PAUSE: Duration = Duration::from_millis(50);
/// ... but not longer than this, on a node where pods come and go all the time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pods' namespaces do not tell, nor do all settings; they are looked at as often as this.
const AT_LEAST: Duration = Duration::from_secs(60);

/// What came of a look at one network.
pub struct Looked<'a> {
    /// The network.
    pub network: &'a NetworkConf,
    /// What was different, or why it could not be put right.
    pub outcome: Result<SyncReport, Error>,
    /// Whether all of it was looked at, and not only what an event had named.
    pub whole: bool,
}

/// The networks of one node, kept as they should be.
pub struct Upkeep {
    node: Netlink,
    monitor: Monitor,
    watch: Watch,
    last: LastRead,
    devices: Devices,
    networks: Vec<Tended>,
    /// Whether files may have changed.
    files: bool,
    /// When everything is looked at next.
    due: Instant,
}

impl Upkeep {
    /// Begins to listen, in the calling thread's network namespace: nothing that happens from now on is
    /// missed.
    ///
    /// # Errors
    /// What the system said.
    pub fn new() -> io::Result<Self> {
        Self::knowing(LastRead::default())
    }

    /// The same, where the calling process may have read a range file already, or will have.
    ///
    /// # Errors
    /// As [`Upkeep::new`].
    pub fn knowing(last: LastRead) -> io::Result<Self> {
        let monitor = Monitor::open().map_err(cannot("listen to the kernel"))?;
        let watch = Watch::new().map_err(cannot("watch files"))?;
        let mut node = Netlink::open().map_err(io::Error::other)?;
        let devices = Devices::of(node.links().map_err(io::Error::other)?);
        let (networks, due) = (Vec::new(), Instant::now());
        Ok(Self { node, monitor, watch, last, devices, networks, files: true, due })
    }

    /// Whether the configurations are to be read again, and handed to [`Upkeep::tend`].
    pub fn wants_configurations(&self) -> bool {
        self.files
    }

    /// From now on these networks are kept. Of one that was kept before, and whose configuration is the
    /// same, no more is looked at than what has changed. `places` are files whose folders tell of
    /// another configuration; the range files' are listened to as well.
    ///
    /// # Errors
    /// A folder cannot be listened to.
    pub fn tend(&mut self, networks: Vec<NetworkConf>, places: Vec<PathBuf>) -> io::Result<()> {
        let range_files = || networks.iter().filter_map(|conf| conf.range_file.as_deref());
        // A link may lead to another folder.
        let linked = range_files().filter_map(|file| file.canonicalize().ok());
        let files: BTreeSet<_> =
            range_files().map(Path::to_owned).chain(linked).chain(places).collect();
        self.watch.listen_to(files).map_err(cannot("watch files"))?;
        self.files = false;
        let mut known = mem::take(&mut self.networks);
        for conf in networks {
            let same = known.iter().position(|network| network.conf == conf);
            let mut network = match same {
                Some(position) => known.swap_remove(position),
                None => Tended::new(conf),
            };
            network.look_at_file();
            self.networks.push(network);
        }
        Ok(())
    }

    /// Looks at what is to be looked at, network by network, and puts it right. `tell` hears what came of
    /// it; meanwhile the log is the network's.
    pub fn look(&mut self, listener: &mut Listener, tell: &mut dyn FnMut(Looked<'_>)) {
        let now = Instant::now();
        if self.due <= now {
            self.due = now + AT_LEAST;
            // If they cannot be told now, those known are the best there is.
            if let Ok(links) = self.node.links() {
                self.devices.renew(links);
            }
            self.networks.iter_mut().for_each(Tended::doubt);
        }
        let is_due = |network: &&mut Tended| network.due(now).is_some_and(|due| due <= now);
        for network in self.networks.iter_mut().filter(is_due) {
            logging::start(network.conf.log_level, network.conf.log_file.as_deref());
            let (outcome, whole) = network.look(&mut self.node, &self.last, listener);
            tell(Looked { network: &network.conf, outcome, whole });
        }
    }

    /// Returns when there is something to look at and it is quiet again.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut since = None;
        let mut quiet = Duration::ZERO;
        loop {
            let begun = match since {
                None => {
                    let now = Instant::now();
                    let left = self.next(now).saturating_duration_since(now);
                    if !self.poll(left)? {
                        self.files |= self.due <= Instant::now();
                        return Ok(());
                    }
                    Instant::now()
                }
                Some(begun) => {
                    thread::sleep(PAUSE);
                    begun
                }
            };
            match self.hear()? {
                true => quiet = Duration::ZERO,
                false => quiet += PAUSE,
            }
            let now = Instant::now();
            let kernel = self.next(now) <= now;
            let due = self.files || kernel;
            let enough = if kernel { QUIET } else { UNCHANGED };
            if due && (quiet >= enough || begun.elapsed() >= PATIENCE) {
                return Ok(());
            }
            // What concerns no network is no reason to do anything.
            since = due.then_some(begun);
        }
    }

    /// When something is to be looked at, whatever happens; not before now.
    fn next(&self, now: Instant) -> Instant {
        let due = self.networks.iter().filter_map(|network| network.due(now));
        due.fold(self.due.max(now), Instant::min)
    }

    /// Waits for a word; `false` if none came in time.
    fn poll(&self, within: Duration) -> io::Result<bool> {
        let fds = [self.watch.as_fd()].into_iter().chain(self.monitor.descriptors());
        let mut ready: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(0) => Ok(false),
            Ok(_) | Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(cannot("wait for changes")(errno.into())),
        }
    }

    /// Takes in what has happened; tells whether any of it concerns a network.
    fn hear(&mut self) -> io::Result<bool> {
        let mut heard = Heard::default();
        let own = self.node.filter_port();
        self.monitor.hear(own, &mut heard).map_err(cannot("listen to the kernel"))?;
        // After the kernel: what an ADD makes of a new file comes later than the file.
        let files = self.watch.heard().map_err(cannot("watch files"))?;
        self.files |= files;
        let mut concerned = files || heard.lost;
        for event in &heard.events {
            let was = self.devices.learn(event);
            for network in &mut self.networks {
                concerned |= network.hear(&self.devices, was.as_ref(), event);
            }
        }
        if heard.lost {
            log::info!("more has happened than could be listened to: everything is looked at");
            self.due = Instant::now();
        }
        Ok(concerned)
    }
}

fn cannot(action: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("cannot {action}: {e}"))
}
