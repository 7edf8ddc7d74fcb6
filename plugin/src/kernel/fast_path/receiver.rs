//! The third program of a network, which unwraps at uplinks: found by the maps that it shares with the other two.

use super::path::FastPath;
use super::program::Program;
use super::{call, maps, object};
use crate::kernel::KernelError;
use crate::kernel::traffic::filter_name;

/// The map of which each network has one.
const NETWORK: &str = "network";

impl FastPath {
    /// The program that unwraps at an uplink, with the maps of these: the one of this number if it is, else a new one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::kernel) fn receiver(
        &self,
        standing: Option<u32>,
    ) -> Result<Program, KernelError> {
        let own = self.id_of_map(NETWORK)?;
        if let Some(found) = standing.and_then(|id| call::find(id).ok()) {
            if maps::id_of(&found, NETWORK).is_ok_and(|id| id == own) {
                return Ok(found);
            }
        }
        let maps =
            object::MAPS.iter().map(|map| self.map(map.name)).collect::<Result<Vec<_>, _>>()?;
        let [.., receive] = &object::PROGRAMS;
        call::load(receive, &maps)
    }
}

/// The name of the filter that unwraps at an uplink, where the place for filters is made for it or is there.
pub fn receiver_name(with_place: bool) -> String {
    let [.., receive] = &object::PROGRAMS;
    filter_name(receive.name, object::DIGEST, with_place)
}
