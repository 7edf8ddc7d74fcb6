//! Waiting for what other programs do, with an end, and with the reason why it did not come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Longer than anything takes that ever comes, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks. Most of them start a program.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether this process was asked to end.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, flag.clone()).expect("a handler of a signal");
    }
    flag
});

/// From now on a signal that asks to end does so at the next wait, by a panic: every guard is dropped.
pub fn heed_signals() {
    LazyLock::force(&INTERRUPTED);
}

/// Whether this process was asked to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Panics if this process was asked to end.
pub fn check_interrupted() {
    assert!(!interrupted(), "interrupted");
}

/// Waits until `look` finds something; fails with its last reason if it never does.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        check_interrupted();
        match look() {
            Ok(found) => return found,
            Err(reason) => {
                assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}: {reason}");
            }
        }
        sleep(PAUSE);
    }
}
