//! The range file on this node: replaced as a whole, and only when it is to say something else, or another has changed it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flatnet::cli::{Done, put};
use flatnet::upkeep::LastRead;
use flatnet_conf::RangeFile;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unwritten(String);

/// Where the file is.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    name: String,
    last: LastRead,
    /// The file as it was last looked at.
    seen: Option<Mark>,
}

/// Inode, size, and the time of the last change in seconds and nanoseconds: what tells a file from another.
type Mark = (u64, u64, i64, i64);

impl Publisher {
    /// Makes the folder, if there is none, and takes away what one that was killed has left half written.
    ///
    /// # Errors
    /// The path is none of a file, or the folder cannot be made.
    pub fn new(path: &Path) -> Result<Self, Unwritten> {
        let unwritten = |why: String| Unwritten(format!("range file {}: {why}", path.display()));
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(folder), true) = (name, path.parent(), path.is_absolute()) else {
            return Err(unwritten("it must be an absolute path of a file".to_owned()));
        };
        // It tells the cluster's addresses; what reads it does so as root.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|e| unwritten(format!("cannot make its folder: {e}")))?;
        match fs::remove_file(folder.join(format!(".{name}.new"))) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove .{name}.new in {}: {e}", folder.display());
            }
            _ => {}
        }
        let (folder, name, last) = (folder.to_owned(), name.to_owned(), LastRead::default());
        let mut publisher = Self { folder, name, last, seen: None };
        publisher.seen = publisher.mark();
        Ok(publisher)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// What was put there last, for who reads it.
    pub fn last(&self) -> LastRead {
        self.last.clone()
    }

    /// What stands there; `None` if nothing does that could be read.
    pub fn standing(&self) -> Option<RangeFile> {
        RangeFile::load(&self.path()).ok()
    }

    /// Puts a file in place, after a look whether a reader will take it; tells whether another was there.
    ///
    /// # Errors
    /// It would be refused by its readers, or cannot be written.
    pub fn publish(&mut self, file: RangeFile) -> Result<bool, Unwritten> {
        file.check(&self.path())
            .map_err(|e| Unwritten(format!("the range file would be refused: {e}")))?;
        let text: Arc<[u8]> = file.to_json().into_bytes().into();
        // Before there is anything to read.
        self.last.knows(Arc::clone(&text), Arc::new(file));
        let done = put(&self.folder, &self.name, &text, 0o600);
        self.seen = self.mark();
        Ok(done.map_err(|e| Unwritten(e.to_string()))? != Done::Unchanged)
    }

    /// Whether another has changed the file, or taken it away, since this was asked or it was put in place.
    pub fn is_touched(&mut self) -> bool {
        let now = self.mark();
        std::mem::replace(&mut self.seen, now) != now
    }

    fn mark(&self) -> Option<Mark> {
        let found = fs::metadata(self.path()).ok()?;
        Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::assemble::range_file;
    use crate::fixture::{cluster, network};
    use crate::judge::judge;

    fn file(words: &[&str]) -> RangeFile {
        let network = network();
        range_file(&network, &judge(&network, &cluster(words)), &|_| false).unwrap()
    }

    #[test]
    fn a_file_is_replaced_when_it_says_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/pods.json");
        let mut publisher = Publisher::new(&path).unwrap();
        assert_eq!(publisher.standing(), None);
        let one = file(&["a 192.0.2.1", "10.1.1.0/24 a"]);
        assert!(publisher.publish(one.clone()).unwrap());
        assert_eq!(publisher.standing().as_ref(), Some(&one));
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(!publisher.publish(one).unwrap());
        assert_eq!(
            fs::metadata(&path).unwrap().ino(),
            found.ino(),
            "the same is not written again"
        );
        let other = file(&["a 192.0.2.1", "10.1.1.0/24 a", "b 192.0.2.2", "10.1.2.0/24 b"]);
        assert!(publisher.publish(other.clone()).unwrap());
        assert_eq!(publisher.standing(), Some(other));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_readers_would_refuse_is_not_put_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new(&folder.path().join("pods.json")).unwrap();
        let good = file(&["a 192.0.2.1", "10.1.1.0/24 a"]);
        publisher.publish(good.clone()).unwrap();
        let twice =
            RangeFile { nodes: [&good.nodes[..], &good.nodes[..]].concat(), ..good.clone() };
        let error = publisher.publish(twice).unwrap_err().to_string();
        assert!(error.starts_with("the range file would be refused: "), "{error}");
        assert_eq!(publisher.standing(), Some(good));
    }

    #[test]
    fn what_another_does_to_the_file_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.json");
        let mut publisher = Publisher::new(&path).unwrap();
        let one = file(&["a 192.0.2.1", "10.1.1.0/24 a"]);
        assert!(!publisher.is_touched());
        let touches: [fn(&Path); 3] = [
            |path| fs::remove_file(path).unwrap(),
            |path| fs::write(path, "{").unwrap(),
            |path| fs::rename(path, path.with_extension("old")).unwrap(),
        ];
        for touch in touches {
            publisher.publish(one.clone()).unwrap();
            assert!(!publisher.is_touched(), "it was ourselves");
            touch(&path);
            assert!(publisher.is_touched());
            assert!(!publisher.is_touched());
            assert!(publisher.publish(one.clone()).unwrap());
            assert_eq!(publisher.standing().as_ref(), Some(&one));
        }
    }

    #[test]
    fn what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".pods.json.new"), "{").unwrap();
        fs::write(folder.path().join("pods.json"), "kept").unwrap();
        Publisher::new(&folder.path().join("pods.json")).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["pods.json"]);
        assert!(Publisher::new(Path::new("pods.json")).is_err(), "none of a folder that changes");
    }
}
