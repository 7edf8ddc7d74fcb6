//! The socket that Docker finds the driver by.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::stat::{Mode, umask};

/// The first of those that systemd hands over (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Takes the socket that systemd hands over, else makes one there.
///
/// # Errors
/// It cannot be made, or another driver has it.
pub fn listen(path: &Path) -> Result<UnixListener, String> {
    let listener = match handed_over() {
        Some(listener) => listener,
        None => bind(path)?,
    };
    let fault = |e| format!("cannot use the socket {}: {e}", path.display());
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

fn handed_over() -> Option<UnixListener> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS")? < 1 {
        return None;
    }
    // SAFETY: systemd has opened it for this process, as the variables say, and nothing else here uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    Some(socket.into())
}

fn bind(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(format!("cannot look at {shown}: {e}")),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("{shown} is there and is no socket; it stays"));
        }
        // One that no process listens to was left behind.
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(format!("another driver serves {shown} already")),
            Err(_) => fs::remove_file(path).map_err(|e| format!("cannot remove {shown}: {e}"))?,
        },
    }
    // A process that can speak to it can take part in any network.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound.map_err(|e| format!("cannot listen on {shown}: {e}"))
}
