//! `flatnet sync`: what stands in the kernel for one network on this node becomes what should stand,
//! with the difference only.
//!
//! ADD does the same for the overlay when the range file has changed or the overlay is not whole at
//! a glance. This looks at everything, at the attachments of living pods too.

use flatnet_conf::NetworkConf;

use crate::attachment::books::Kept;
pub use crate::attachment::pods::InPod;
use crate::attachment::pods::{Looked, Pods};
use crate::error::Error;
use crate::kernel::{Changes, Journal, Listener, Mode, Netlink};
use crate::overlay::agent;
use crate::overlay::desired::Overlay;
use crate::overlay::node_lock;
use crate::overlay::site::{Site, Standing};
use crate::overlay::stamp::Stamp;
use crate::overlay::ways::Ways;

/// More changes than this are counted, not told: they are a new overlay, not a drift.
pub const TOLD: usize = 30;

/// What was different, by place.
#[derive(Debug)]
pub struct SyncReport {
    /// The node's name in the range file.
    pub node: String,
    /// What was changed on the node, or would be.
    pub changes: Changes,
    /// What was changed in pods, or would be.
    pub pods: Vec<InPod>,
    /// Attachments that were not looked at: another IPAM plugin gave their addresses, and nothing on
    /// disk says where their namespaces are.
    pub unleased: usize,
    /// What the books lacked.
    pub books: Kept,
    /// What could not be looked at or changed, although the rest was.
    pub problems: Vec<String>,
    /// What is not as it should be, and kept nothing from being looked at or changed.
    pub warnings: Vec<String>,
    /// How many of the changes a range file brought that was not followed before.
    pub followed: usize,
}

impl SyncReport {
    /// What came of looking at a node.
    pub fn new(site: &Site, changes: Changes, looked: Looked) -> Self {
        let Looked { pods, unleased, books, problems } = looked;
        let (node, warnings) = (site.node.name.clone(), Vec::new());
        Self { node, changes, pods, unleased, books, problems, warnings, followed: 0 }
    }

    /// The same, with what is to be said of the ways.
    pub fn warned(self, site: &Site, conf: &NetworkConf, ways: &Ways) -> Self {
        let warnings = ways.mtu.warnings(site.file());
        let warnings = warnings.iter().map(|warning| format!("network {}: {warning}", conf.name));
        Self { warnings: warnings.collect(), ..self }
    }

    /// Logs a line for each change at level info; a new overlay is one line.
    pub fn log(&self, network: &str) {
        match self.count() {
            count if count > TOLD => log::info!("sync of {network}: {count} changes made"),
            _ => {
                self.changes.words().for_each(|change| log::info!("sync of {network}: {change}"));
                for pod in &self.pods {
                    pod.changes
                        .words()
                        .for_each(|change| log::info!("sync of {network}: {pod}: {change}"));
                }
            }
        }
    }

    /// How many changes.
    pub fn count(&self) -> usize {
        let in_pods = self.pods.iter().map(|pod| pod.changes.count());
        self.changes.count() + self.books.leases.len() + in_pods.sum::<usize>()
    }

    /// How many of them put right what had stood.
    pub fn mended(&self) -> usize {
        self.count().saturating_sub(self.followed)
    }
}

/// Compares one network with its range file, and applies the difference or only tells it. The
/// listener hears how far that is, if there is much to do.
///
/// # Errors
/// Those of [`crate::overlay::site::ensure`]. A pod that fails does not keep the others from being
/// looked at: see [`SyncReport::problems`].
pub fn run(conf: &NetworkConf, mode: Mode, listener: &mut Listener) -> Result<SyncReport, Error> {
    let mut node = Netlink::open()?;
    let site = Site::find(&mut node, conf)?;
    run_at(&site, &mut node, conf, mode, listener)
}

/// The same for a node that has been found already.
///
/// # Errors
/// As [`run`].
pub fn run_at(
    site: &Site,
    node: &mut Netlink,
    conf: &NetworkConf,
    mode: Mode,
    listener: &mut Listener,
) -> Result<SyncReport, Error> {
    let own = node.netns().inode()?;
    let mut journal = Journal::new(node, mode).heard_by(listener);
    let (ways, standing, _) = overlay(site, &mut journal, conf, own, mode)?;
    let looked = Pods::of(site, conf, &standing, own, mode).look(&mut journal)?;
    let report = SyncReport::new(site, journal.changes(), looked);
    Ok(report.warned(site, conf, &ways))
}

/// The overlay alone, and the ways that it goes. An ADD waits for this, and not for the visits to pods
/// that come after it.
///
/// # Errors
/// As [`run`].
pub fn overlay(
    site: &Site,
    node: &mut Journal<'_>,
    conf: &NetworkConf,
    own: u64,
    mode: Mode,
) -> Result<(Ways, Standing, Overlay), Error> {
    let _all = if mode == Mode::Apply { node_lock::wait() } else { None };
    let advised = |error| agent::advised(conf, error);
    let mut ways = site.survey(node, conf).map_err(advised)?;
    let (standing, overlay) = match mode {
        Mode::Plan => {
            let before = Stamp::find(conf, own);
            site.establish(node, conf, &mut ways, before.as_ref()).map_err(advised)?
        }
        Mode::Apply => {
            let _lock = site.lock(conf)?;
            let brought = site.bring_about(node, conf, own, &mut ways).map_err(advised)?;
            (brought.standing, brought.overlay)
        }
    };
    Ok((ways, standing, overlay))
}
