//! A log file that several processes write at once, and that does not grow for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

/// A file of this size, in bytes, is renamed to `FILE.1`, in the place of an earlier one.
const FULL: u64 = 10 << 20;

/// The file, opened by the first line.
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    full: u64,
}

impl LogFile {
    /// Nothing is done yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, full: FULL }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line with one write, so that the lines of processes side by side stay whole.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        if file.metadata()?.len() >= self.full {
            file = self.rotate(file)?;
        }
        file.write_all(line)?;
        self.file = Some(file);
        Ok(())
    }

    /// The holder of the full file's lock renames it. The others write on into the file that they
    /// have, whatever its name: no line is lost, and no process waits.
    fn rotate(&self, file: File) -> io::Result<File> {
        let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((file, _)) => return Ok(file),
        };
        let same = |found: fs::Metadata| {
            let own = locked.metadata()?;
            Ok::<_, io::Error>((found.dev(), found.ino()) == (own.dev(), own.ino()))
        };
        // Another process may have renamed it since it was opened.
        if fs::metadata(&self.path).map_or(Ok(false), same)? {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
        }
        open(&self.path)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        // A FIFO without a reader must not stop a verb.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn small(path: &Path) -> LogFile {
        LogFile { full: 10, ..LogFile::new(path) }
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = small(&path);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        let old = folder.path().join("log.1");
        assert_eq!(fs::read_to_string(&old).unwrap(), "four\nfive\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "six\nseven\n");
        for file in [path, old] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn writers_side_by_side_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut first, mut second) = (small(&path), small(&path));
        second.write(b"second opens\n").unwrap();
        // Renames what the second has open.
        first.write(b"a\n").unwrap();
        second.write(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
        assert_eq!(fs::read_to_string(folder.path().join("log.1")).unwrap(), "second opens\n");
    }

    #[test]
    fn who_finds_it_locked_writes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "this is a full file\n").unwrap();
        let rotating = File::open(&path).unwrap();
        let lock = Flock::lock(rotating, FlockArg::LockExclusiveNonblock).unwrap();
        small(&path).write(b"x\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "this is a full file\nx\n");
        drop(lock);
    }

    #[test]
    fn a_fifo_without_a_reader_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(small(&path).write(b"x\n").is_err());
    }
}
