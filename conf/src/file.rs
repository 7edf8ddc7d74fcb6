//! Reading of files whose paths come from outside: a wrong one must not keep a pod waiting, or fill
//! the memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// More than any range file: ten thousand nodes take a megabyte.
const LONGEST: u64 = 64 << 20;

/// The content of the file at `path`, or of the one that a symbolic link there leads to. What is no
/// file is an error: opening a FIFO waits for a writer, and a device may have no end. So is a file
/// of more than 64 MiB.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    // The error of reading a folder says what it is.
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::with_capacity(found.len().min(LONGEST) as usize);
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(content)
}
