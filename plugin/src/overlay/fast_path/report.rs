//! What there is of a network's fast path, and why not more.

use flatnet_conf::NetworkConf;

use super::obstacle::Obstacle;
use super::{Found, is_wanted, obstacle};
use crate::identity::overlay_name;
use crate::kernel::fast_path::{Counts, Flows};
use crate::kernel::{FastPath, KernelError, Observe};

/// What there is of a network's fast path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it is configured.
    pub wanted: bool,
    /// What its programs say of themselves, if it stands.
    pub stands: Option<Stands>,
    /// Why it does not stand although it is configured; none where it was only not brought about yet.
    pub obstacle: Option<Obstacle>,
}

/// What programs that are in force say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// What they have counted since they were loaded.
    pub counts: Counts,
    /// The flows that they know.
    pub flows: Flows,
    /// The devices by which packets to other nodes leave at once; where there is none, they leave by the overlay's.
    pub uplinks: Vec<String>,
}

impl Report {
    /// Looks at the network with this VNI. Where nothing explains why there is none, the kernel is asked to load the
    /// programs, and nothing runs them.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of(kernel: &mut dyn Observe, conf: &NetworkConf, vni: u32) -> Result<Self, KernelError> {
        let wanted = is_wanted(conf);
        let none = Self { wanted, ..Self::default() };
        let Some(overlay) = kernel.link(&overlay_name(vni))?.filter(|_| wanted) else {
            return Ok(none);
        };
        let found = Found::on(kernel, Some(&overlay.dev))?;
        if let Some(path) = found.path {
            let stands = Some(Stands::of(kernel, &path)?);
            return Ok(Self { stands, ..none });
        }
        let obstacle = match obstacle(kernel, &found.filters)? {
            Some(obstacle) => Some(obstacle),
            None => kernel.load_fast_path().err().map(|e| Obstacle::Refused(e.to_string())),
        };
        Ok(Self { obstacle, ..none })
    }
}

impl Stands {
    fn of(kernel: &mut dyn Observe, path: &FastPath) -> Result<Self, KernelError> {
        let mut uplinks = Vec::new();
        for index in path.uplinks()? {
            uplinks.extend(kernel.link_by_index(index)?.map(|link| link.dev.name));
        }
        Ok(Self { counts: path.counts()?, flows: path.flows()?, uplinks })
    }
}
