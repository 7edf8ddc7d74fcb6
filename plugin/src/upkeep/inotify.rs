//! The kernel's limits of inotify, by their names: its own words are "Too many open files" and "No space
//! left on device", and neither a file nor a disk is meant.

use std::fs;
use std::io;

use nix::errno::Errno;

const INSTANCES: &str = "fs.inotify.max_user_instances";
const WATCHES: &str = "fs.inotify.max_user_watches";
/// What the kernel gives by default.
const FEW: u64 = 128;

/// The same error with the limit that was reached, and what raises it.
pub fn explain(error: io::Error) -> io::Error {
    let (limit, command) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => (INSTANCES, more_instances()),
        Some(Errno::ENOSPC) => (WATCHES, more(WATCHES)),
        _ => return error,
    };
    let words = format!("{error}: {limit} is used up for this user; `{command}` raises it");
    io::Error::new(error.kind(), words)
}

/// The command that lets users have more instances.
pub fn more_instances() -> String {
    more(INSTANCES)
}

fn more(key: &str) -> String {
    let now = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")));
    let now = now.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(FEW);
    format!("sysctl -w {key}={}", now.max(FEW).saturating_mul(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_the_command_that_raises_it() {
        let told = |errno: Errno| explain(errno.into()).to_string();
        let command = format!("`{}` raises it", more(INSTANCES));
        let words = told(Errno::EMFILE);
        assert!(
            words.contains("max_user_instances is used up") && words.ends_with(&command),
            "{words}"
        );
        assert!(told(Errno::ENOSPC).contains("`sysctl -w fs.inotify.max_user_watches="));
        assert_eq!(told(Errno::EACCES), io::Error::from(Errno::EACCES).to_string());
    }
}
