//! The range file that was read or written last: its bytes are not parsed again. Of 5,000 nodes that would be the most
//! that a change of one of them costs, and who writes a file knows what it means.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flatnet_conf::{Error, RangeFile, read_file};

/// What was read or written last, and what it means. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct LastRead(Arc<Mutex<Option<Read>>>);

#[derive(Debug)]
struct Read {
    bytes: Arc<[u8]>,
    file: Arc<RangeFile>,
}

impl LastRead {
    /// What these bytes mean; `origin` is the file's path, for messages.
    ///
    /// # Errors
    /// Those of [`RangeFile::parse`].
    pub fn parse(&self, origin: &Path, bytes: Vec<u8>) -> Result<Arc<RangeFile>, Error> {
        if let Some(file) = self.meaning(&bytes) {
            return Ok(file);
        }
        let file = Arc::new(RangeFile::parse(origin, &bytes)?);
        self.knows(bytes.into(), Arc::clone(&file));
        Ok(file)
    }

    /// These bytes are the text of this file.
    pub fn knows(&self, bytes: Arc<[u8]>, file: Arc<RangeFile>) {
        let read = Some(Read { bytes, file });
        let before =
            mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), read);
        // Thousands of nodes, which others need not wait for.
        drop(before);
    }

    /// Reads the file at a path.
    ///
    /// # Errors
    /// Those of [`RangeFile::load`].
    pub fn load(&self, path: &Path) -> Result<Arc<RangeFile>, Error> {
        let bytes =
            read_file(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        self.parse(path, bytes)
    }

    fn meaning(&self, bytes: &[u8]) -> Option<Arc<RangeFile>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| *last.bytes == *bytes).map(|last| Arc::clone(&last.file))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_same_bytes_are_parsed_once_and_others_are_not_taken_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        let text = |vtep: &str| {
            format!(
                r#"{{"version":1,"nodes":[{{"name":"a","vtep":"{vtep}","ranges":["10.1.1.0/24"]}}]}}"#
            )
        };
        let (one, other) = (text("192.0.2.1"), text("192.0.2.2"));
        let last = LastRead::default();
        let parsed = last.parse(&path, one.clone().into_bytes()).unwrap();
        fs::write(&path, &one).unwrap();
        assert!(Arc::ptr_eq(&parsed, &last.clone().load(&path).unwrap()));

        fs::write(&path, &other).unwrap();
        let read = last.load(&path).unwrap();
        assert_eq!(read.nodes[0].vtep.to_string(), "192.0.2.2");
        assert!(last.parse(&path, b"{".to_vec()).is_err());
        assert!(Arc::ptr_eq(&read, &last.load(&path).unwrap()), "what is wrong takes no place");
        assert_ne!(*last.parse(&path, one.into_bytes()).unwrap(), *read);

        last.knows(other.into_bytes().into(), Arc::clone(&read));
        assert!(Arc::ptr_eq(&read, &last.load(&path).unwrap()), "who wrote it knows it");
    }
}
