//! A program that the kernel holds for us.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// A program in the kernel.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its number, by which others find it.
    pub id: u32,
    /// None in a fake kernel.
    pub(super) held: Option<Arc<OwnedFd>>,
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
    pub(in crate::kernel) fn planned(id: u32) -> Self {
        Self { id, held: None }
    }

    pub(in crate::kernel) fn descriptor(&self) -> i32 {
        self.held.as_ref().map_or(-1, |held| held.as_raw_fd())
    }
}
