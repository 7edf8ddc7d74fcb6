//! The two programs of one network: made, found again by their numbers, and the filters that run them.

use std::os::fd::OwnedFd;

use super::object::Source;
use super::program::Program;
use super::{call, maps, object};
use crate::kernel::traffic::filter_name;
use crate::kernel::{Filter, Filters, Hook, KernelError};

/// The two programs of one network at its own devices, in the order of [`Hook::ALL`]: what sends packets on, and what learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastPath {
    programs: [Program; 2],
}

impl FastPath {
    /// Those of a fake kernel.
    #[cfg(test)]
    pub(crate) fn planned(first: u32) -> Self {
        Self { programs: [first, first + 1].map(Program::planned) }
    }

    /// Makes them, with empty maps.
    ///
    /// # Errors
    /// The kernel is too old, has no BPF, or refuses.
    pub(in crate::kernel) fn load() -> Result<Self, KernelError> {
        let maps = object::MAPS.iter().map(maps::create).collect::<Result<Vec<_>, _>>()?;
        let [hit, learn, _] = &object::PROGRAMS;
        let programs = [call::load(hit, &maps)?, call::load(learn, &maps)?];
        Ok(Self { programs })
    }

    /// Those of these numbers.
    ///
    /// # Errors
    /// One is gone.
    pub(in crate::kernel) fn find(ids: [u32; 2]) -> Result<Self, KernelError> {
        let [hit, learn] = ids;
        Ok(Self { programs: [call::find(hit)?, call::find(learn)?] })
    }

    /// Their numbers, by which they are found again as long as any filter has them. No other program gets the same: the
    /// kernel counts on.
    pub fn ids(&self) -> [u32; 2] {
        self.programs.each_ref().map(|program| program.id)
    }

    /// The filters that run them on a device, where the place for filters is made for them or is there.
    pub fn filters(&self, with_place: bool) -> [Filter; 2] {
        let [hit, learn] = &self.programs;
        let filter = |hook, source: &Source, program: &Program| Filter {
            hook,
            name: filter_name(source.name, object::DIGEST, with_place),
            program: program.clone(),
        };
        let [at_ingress, at_egress, _] = &object::PROGRAMS;
        [filter(Hook::Ingress, at_ingress, hit), filter(Hook::Egress, at_egress, learn)]
    }

    pub(super) fn id_of_map(&self, name: &str) -> Result<u32, KernelError> {
        let [hit, learn] = &self.programs;
        maps::id_of(hit, name).or_else(|_| maps::id_of(learn, name))
    }

    pub(super) fn map(&self, name: &str) -> Result<OwnedFd, KernelError> {
        let [hit, learn] = &self.programs;
        maps::of(hit, name).or_else(|_| maps::of(learn, name))
    }
}

impl Filters {
    /// The numbers of the programs, if both filters are ours and, unless `any` will do, of this version.
    pub fn programs(&self, any: bool) -> Option<[u32; 2]> {
        let [Some(hit), Some(learn)] = &self.standing else { return None };
        let ours = hit.is_ours() && learn.is_ours();
        let current = [hit, learn]
            .into_iter()
            .zip(&object::PROGRAMS)
            .all(|(standing, source)| standing.runs(source.name, object::DIGEST));
        (ours && (any || current)).then_some([hit.program, learn.program])
    }
}
