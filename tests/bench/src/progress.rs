//! How far the run is, on standard error, and the way out when it is interrupted.
//!
//! An interrupt is noticed between two steps and unwinds, so that every guard on the way removes
//! what it made.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic::resume_unwind;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What unwinding carries after an interrupt.
#[derive(Copy, Clone, Debug)]
pub struct Interrupted;

/// Tells of each step, and stops at it if SIGINT, SIGTERM or SIGHUP has come.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    signals: SignalFd,
}

impl Progress {
    /// Begins; from now on the signals wait for the next step. To be called before any thread
    /// starts: children get an empty signal mask from the standard library.
    pub fn start() -> Self {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block().expect("hold signals back");
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&mask, flags).expect("a descriptor for signals");
        Self { started: Instant::now(), signals }
    }

    /// Says what begins now.
    pub fn stage(&self, what: &str) {
        self.stop_if_asked();
        let seconds = self.started.elapsed().as_secs();
        eprintln!("[{:2}:{:02}] {what}", seconds / 60, seconds % 60);
    }

    /// Says that step `n` of `total` begins; on a terminal only, and in one line.
    pub fn step(&self, n: usize, total: usize) {
        self.stop_if_asked();
        if io::stderr().is_terminal() {
            let end = if n + 1 == total { "\x1b[K" } else { "" };
            // A terminal that went away has no reader to miss it.
            let _ = write!(io::stderr(), "\r        {} of {total}\r{end}", n + 1);
        }
    }

    fn stop_if_asked(&self) {
        if let Ok(Some(_)) = self.signals.read_signal() {
            resume_unwind(Box::new(Interrupted));
        }
    }
}
