//! The ways to the peers of a site, and what they mean for it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::error::Error;
use crate::kernel::{Observe, Path};
use crate::overlay::mtu::OverlayMtu;
use crate::overlay::underlay::Underlay;

/// The underlay of a site, looked at before anything is changed.
pub struct Ways {
    /// The ways themselves.
    pub underlay: Underlay,
    /// How large packets may be.
    pub mtu: OverlayMtu,
    /// The device by which the default route leads.
    pub world: Option<u32>,
}

impl Ways {
    /// The names of the devices by which packets leave the machine, and of those by which peers' come in.
    pub fn uplinks(&self) -> [&BTreeSet<String>; 2] {
        [&self.underlay.outlets, self.underlay.devices()]
    }

    /// Index of the device that has the node's VTEP, if any has.
    pub fn own(&self) -> Option<u32> {
        self.underlay.place.own
    }

    /// The uplinks to those of more peers that no router stands before. `None` if their ways are not like
    /// the others': then there may be more to be done about them.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn to_more(
        &self,
        kernel: &mut dyn Observe,
        vteps: &[IpAddr],
    ) -> Result<Option<HashMap<IpAddr, u32>>, Error> {
        let Underlay { peers, place, .. } = &self.underlay;
        let carries = |path: &Path| (path.dev, path.mtu);
        let known: HashSet<_> =
            peers.iter().filter_map(|(_, path)| path.as_ref()).map(carries).collect();
        let paths = kernel.paths(vteps, &place.flow)?;
        if !paths.iter().flatten().all(|path| known.contains(&carries(path))) {
            return Ok(None);
        }
        let ways = vteps.iter().copied().zip(paths);
        Ok(Some(place.adjacent(ways)))
    }
}
