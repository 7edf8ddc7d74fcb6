//! The machine's own log, for a call that has failed: there an operator looks who has configured no
//! log, and a runtime may keep for itself what a plugin says on standard error.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use flatnet_conf::one_line;
use nix::libc::O_NONBLOCK;

/// Where syslog listens, and the journal in its place.
const SYSLOG: &str = "/dev/log";
/// Where neither does: the kernel's own log (`dmesg`).
const KERNEL: &str = "/dev/kmsg";
/// Facility daemon, severity error (RFC 5424, section 6.2.1).
const PRIORITY: u8 = 3 * 8 + 3;
/// The kernel refuses lines of 1024 bytes, priority included.
const LONGEST: usize = 960;

/// Writes a line, if that can be done at once; where there is no such log, as in a container, it is only
/// on standard error.
pub fn tell(text: &str) {
    let line = line(std::process::id(), text);
    let _ = to_syslog(Path::new(SYSLOG), &line).or_else(|_| to_kernel(Path::new(KERNEL), &line));
}

fn line(pid: u32, text: &str) -> String {
    let mut line = format!("<{PRIORITY}>flatnet[{pid}]: {}", one_line(text));
    if line.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
    }
    line
}

fn to_syslog(socket: &Path, line: &str) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A log that is full must not keep a pod waiting.
    sender.set_nonblocking(true)?;
    sender.send_to(line.as_bytes(), socket).map(drop)
}

fn to_kernel(device: &Path, line: &str) -> io::Result<()> {
    let mut log = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(device)?;
    log.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_is_one_whatever_it_says() {
        assert_eq!(line(7, "ADD: no\n<0>forged\x1b"), r"<27>flatnet[7]: ADD: no\n<0>forged\u{1b}");
        let long = line(7, &"ä".repeat(2000));
        assert!((LONGEST - 1..=LONGEST).contains(&long.len()), "{}", long.len());
    }

    #[test]
    fn a_full_or_missing_log_keeps_no_call_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(to_syslog(&path, "x").is_err());
        let log = UnixDatagram::bind(&path).unwrap();
        to_syslog(&path, "<27>flatnet[7]: first").unwrap();
        let mut buffer = [0; 64];
        let length = log.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"<27>flatnet[7]: first");
        let full = (0..100_000).map(|_| to_syslog(&path, "x")).find_map(Result::err);
        assert_eq!(full.map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        let device = folder.path().join("kmsg");
        assert!(to_kernel(&device, "x").is_err(), "it is not made");
        fs::write(&device, "").unwrap();
        to_kernel(&device, "<27>x").unwrap();
        assert_eq!(fs::read(&device).unwrap(), b"<27>x");
    }
}
