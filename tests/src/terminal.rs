//! A command at a terminal: what a person would see of each of its streams.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};

/// Runs a command to its end; standard output and standard error are a terminal each, so many columns
/// wide. Lines end as the command ended them.
pub fn run(command: &mut Command, columns: u16) -> Output {
    let (stdout, slave) = terminal(columns);
    command.stdin(Stdio::null()).stdout(slave);
    let (stderr, slave) = terminal(columns);
    command.stderr(slave);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Only the child keeps them open now.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let stderr = thread::spawn(|| read(stderr));
    let stdout = read(stdout);
    let stderr = stderr.join().expect("the reader of standard error");
    Output { status: child.wait().expect("wait for the command"), stdout, stderr }
}

/// Both ends of a new terminal.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
    (File::from(master), slave)
}

/// All that is written, without the carriage returns that the terminal adds.
fn read(mut master: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // When the last writer is gone, reading fails (EIO); what was read until then is kept.
    drop(master.read_to_end(&mut bytes));
    String::from_utf8(bytes).expect("text").replace("\r\n", "\n").into_bytes()
}
