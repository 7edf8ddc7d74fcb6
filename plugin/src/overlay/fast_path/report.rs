//! What there is of a network's fast path, and why not more.

use flatnet_conf::{FastPath as Configured, NetworkConf};

use super::entrance::{self, Entrance};
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
    /// Where packets from other nodes are unwrapped at once, or why not: each of those devices by name, if that is configured.
    pub entrances: Vec<(String, Entrance)>,
}

/// What a look finds, without asking for more.
pub enum State {
    /// It is not configured, or there is no network to have it.
    Nothing,
    /// Its programs, in force.
    Stands(FastPath),
    /// It does not stand, and what is seen to be in its way.
    Missing(Option<Obstacle>),
}

impl State {
    /// Looks at the network with this VNI.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of(kernel: &mut dyn Observe, conf: &NetworkConf, vni: u32) -> Result<Self, KernelError> {
        let Some(overlay) = kernel.link(&overlay_name(vni))?.filter(|_| is_wanted(conf)) else {
            return Ok(Self::Nothing);
        };
        let found = Found::on(kernel, Some(&overlay.dev))?;
        Ok(match found.path {
            Some(path) => Self::Stands(path),
            None => Self::Missing(obstacle(kernel, &found.filters)?),
        })
    }
}

impl Report {
    /// Looks at the network with this VNI. Where nothing explains why there is none, the kernel is asked to load the
    /// programs, and nothing runs them.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of(kernel: &mut dyn Observe, conf: &NetworkConf, vni: u32) -> Result<Self, KernelError> {
        let none = Self { wanted: is_wanted(conf), ..Self::default() };
        Ok(match State::of(kernel, conf, vni)? {
            State::Nothing => none,
            State::Stands(path) => {
                let receives = (conf.fast_path == Configured::Uplink).then_some(vni);
                Self { stands: Some(Stands::of(kernel, &path, receives)?), ..none }
            }
            State::Missing(Some(obstacle)) => Self { obstacle: Some(obstacle), ..none },
            State::Missing(None) => {
                let refused = kernel.load_fast_path().err();
                Self { obstacle: refused.map(|e| Obstacle::Refused(e.to_string())), ..none }
            }
        })
    }
}

impl Stands {
    /// `receives` is the VNI, where packets are to be unwrapped at uplinks.
    fn of(
        kernel: &mut dyn Observe,
        path: &FastPath,
        receives: Option<u32>,
    ) -> Result<Self, KernelError> {
        let (mut uplinks, mut entrances) = (Vec::new(), Vec::new());
        for index in path.uplinks()? {
            let Some(link) = kernel.link_by_index(index)? else { continue };
            if let Some(vni) = receives {
                let entrance = entrance::look(kernel, &link, vni)?;
                entrances.push((link.dev.name.clone(), entrance));
            }
            uplinks.push(link.dev.name);
        }
        Ok(Self { counts: path.counts()?, flows: path.flows()?, uplinks, entrances })
    }
}
