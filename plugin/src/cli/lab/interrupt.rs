//! ^C while a lab is built: noticed between two steps, so that what was made can be removed.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::error::CommandError;

/// While the process lives, SIGINT, SIGTERM and SIGHUP wait here to be asked for. Children are not
/// concerned: the standard library gives them an empty signal mask.
pub struct Interrupt {
    signals: SignalFd,
}

impl Interrupt {
    /// Begins to hold the signals back. To be called before the first thread starts.
    pub fn hold() -> Result<Self, CommandError> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        mask.thread_block()
            .and_then(|()| SignalFd::with_flags(&mask, flags))
            .map(|signals| Self { signals })
            .map_err(|errno: Errno| {
                CommandError::Refused(format!("cannot hold signals back: {errno}"))
            })
    }

    /// An error if one has come.
    pub fn check(&self) -> Result<(), CommandError> {
        match self.signals.read_signal() {
            Ok(Some(_)) => Err(CommandError::Interrupted),
            // None has come; and a descriptor that fails is no reason to stop.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}
