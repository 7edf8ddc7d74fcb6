//! Leases of pod addresses in one node's ranges.
//!
//! The promise:
//! - An address is held by at most one attachment, whatever runs side by side and whatever is
//!   killed: holding it is one link(2), which the kernel grants once.
//! - The lease is on disk before any other process hears of the address.
//! - What a killed ADD or DEL leaves behind keeps nothing from the next ADD, DEL or GC: the same
//!   attachment finds it by its key, and [`Leases::reclaim`] finds all of it.
//! - A lease whose pod lives, or is in the making, is never reclaimed; nor does one damaged file
//!   stop the others.
//! - An address just freed is given again last: round robin.
//! - The cost of a lease does not grow with the number of leases.
//!
//! ```text
//! <stateDir>/<network>/<node>/lock             locked for each decision; holds the last addresses given
//!                             leases/<key>     the lease of one attachment, as JSON
//!                             addresses/<ip>   the same file: this is what makes the address taken
//! ```
//!
//! Beside it, [`HostLocal`] keeps leases in range sets as the reference plugin host-local does.
//!
//! Who decides what: `allocator` which address (pure), `decision` the order of the steps on disk,
//! `disk` what each step is, `lock` who waits for whom, `reclaim` what is left over,
//! `restore` what was lost.

mod allocator;
mod decision;
mod disk;
mod error;
#[cfg(test)]
mod fixture;
mod host_local;
mod key;
mod lease;
mod leases;
mod lock;
mod reclaim;
mod regular;
mod restore;
mod round_robin;
mod store;
mod writable;

pub use disk::{create_network_folder, existing_network_folder};
pub use error::{Error, Result};
pub use host_local::{Given, HostLocal};
pub use key::{Key, network_folder, node_folder};
pub use lease::{Holder, Pod, Record};
pub use leases::{HeldLease, Lease, Leases, Request};
pub use reclaim::{Candidate, Listing, Reclaimed};
pub use regular::open_regular;
pub use restore::{Restored, TakenOver};
pub use writable::{check_leases, check_writable};
