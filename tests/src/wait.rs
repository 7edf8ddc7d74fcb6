//! Waiting for something that another program does, with an end.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything takes that ever comes, in a virtual machine without acceleration on a busy one, too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Does again what was interrupted: the kernel goes on with a call that has a timeout neither when a stopped process does, nor
/// when a thread was only woken (signal(7)).
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Waits until `look` finds something; fails the test if it does not come.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        sleep(Duration::from_millis(5));
    }
}
