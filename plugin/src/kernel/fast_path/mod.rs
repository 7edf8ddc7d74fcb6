//! The programs of the fast path (`plugin/bpf`) in the kernel: made, found again by their numbers, and told what the
//! network is. Which devices they hang on, `traffic` brings about.

mod call;
mod counts;
mod flows;
mod maps;
mod settings;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::traffic::filter_name;
use super::{Filter, Filters, Hook, KernelError};
pub use counts::{COUNTS, Counts};
pub use flows::Flows;
pub use settings::PathSettings;

/// A map as `plugin/bpf/maps.h` defines it.
struct Map {
    name: &'static str,
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

/// A program, and which of its instructions take which of the maps.
struct Source {
    name: &'static str,
    instructions: &'static [u8],
    maps: &'static [(usize, usize)],
}

mod object {
    use super::{Map, Source};
    include!(concat!(env!("OUT_DIR"), "/fast_path.rs"));
}

/// A program in the kernel.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its number, by which others find it.
    pub id: u32,
    /// None in a fake kernel.
    held: Option<Arc<OwnedFd>>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Program {}

impl Program {
    /// One of a fake kernel.
    #[cfg(test)]
    pub(super) fn planned(id: u32) -> Self {
        Self { id, held: None }
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.held.as_ref().map_or(-1, |held| held.as_raw_fd())
    }
}

/// The two programs of one network, in the order of [`Hook::ALL`]: what sends packets on, and what learns.
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
    pub(super) fn load() -> Result<Self, KernelError> {
        let maps = object::MAPS.iter().map(maps::create).collect::<Result<Vec<_>, _>>()?;
        let [hit, learn] = &object::PROGRAMS;
        let programs = [call::load(hit, &maps)?, call::load(learn, &maps)?];
        Ok(Self { programs })
    }

    /// Those of these numbers.
    ///
    /// # Errors
    /// One is gone.
    pub(super) fn find(ids: [u32; 2]) -> Result<Self, KernelError> {
        let [hit, learn] = ids;
        Ok(Self { programs: [call::find(hit)?, call::find(learn)?] })
    }

    /// The filters that run them on a device.
    pub fn filters(&self) -> [Filter; 2] {
        let [hit, learn] = &self.programs;
        let filter = |hook, source: &Source, program: &Program| Filter {
            hook,
            name: filter_name(source.name, object::DIGEST),
            program: program.clone(),
        };
        let [at_ingress, at_egress] = &object::PROGRAMS;
        [filter(Hook::Ingress, at_ingress, hit), filter(Hook::Egress, at_egress, learn)]
    }

    /// What the programs have counted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counts(&self) -> Result<Counts, KernelError> {
        counts::read(self)
    }

    /// How many flows they know.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn flows(&self) -> Result<Flows, KernelError> {
        flows::read(self)
    }

    fn map(&self, name: &str) -> Result<OwnedFd, KernelError> {
        let [hit, learn] = &self.programs;
        maps::of(hit, name).or_else(|_| maps::of(learn, name))
    }
}

/// Which version of the programs this executable has.
pub fn digest() -> &'static str {
    object::DIGEST
}

impl Filters {
    /// The numbers of the programs, if both filters are ours and, unless `any` will do, of this version.
    pub fn programs(&self, any: bool) -> Option<[u32; 2]> {
        let [Some(hit), Some(learn)] = &self.standing else { return None };
        let [hit_name, learn_name] =
            object::PROGRAMS.each_ref().map(|source| filter_name(source.name, object::DIGEST));
        let ours = hit.is_ours() && learn.is_ours();
        let current = hit.name == hit_name && learn.name == learn_name;
        (ours && (any || current)).then_some([hit.program, learn.program])
    }
}
