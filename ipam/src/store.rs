//! What the lease decisions need of a node's folder, while its lock is held.
//!
//! Each method is one change that is on disk as a whole or not at all, so that the state between
//! any two of them is one that a crash can leave; the tests stop after each.

use std::net::IpAddr;

use crate::allocator::Cursor;
use crate::error::Result;
use crate::key::Key;
use crate::lease::Record;
use crate::lock::{Inode, LeaseFile};

/// The state of one node of one network, locked.
pub(crate) trait Store {
    /// The last addresses given; none if nothing legible is there.
    fn cursor(&self) -> Cursor;

    /// A number that is another one at each boot: where addresses begin if there is no cursor.
    fn seed(&self) -> u64;

    /// Remembers the last addresses given.
    fn set_cursor(&mut self, cursor: &Cursor) -> Result<()>;

    /// The lease file that holds an address.
    fn holder(&self, address: IpAddr) -> Result<Option<Inode>>;

    /// Every address that is held.
    fn held(&self) -> Result<Vec<IpAddr>>;

    /// Writes an attachment's lease, in place of the one it had, and locks it.
    fn put(&mut self, key: &Key, record: &Record) -> Result<LeaseFile>;

    /// Makes an attachment's lease hold an address. That another holds it is an error.
    fn claim(&mut self, key: &Key, address: IpAddr) -> Result<()>;

    /// Frees an address, whatever holds it. A free one is fine.
    fn free(&mut self, address: IpAddr) -> Result<()>;

    /// Removes an attachment's lease. A missing one is fine.
    fn remove(&mut self, key: &Key) -> Result<()>;
}
