//! A lab's folder, `/run/flatnet-lab/<name>`: its record, range file, network configuration and the
//! plugin's state. Only root can look inside.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use super::name::Name;
use super::record::LabRecord;
use crate::cli::error::CommandError;

/// Where all labs are. Gone after a reboot, as the namespaces are.
const ROOT: &str = "/run/flatnet-lab";
const RECORD: &str = "lab.json";
/// How long to wait for another command on the same lab.
const PATIENCE: Duration = Duration::from_secs(10);

/// The folder of one lab.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Where a lab of this name has its folder, whether there is one or not.
    pub fn of(name: &Name) -> Self {
        Self { path: Path::new(ROOT).join(name.as_str()) }
    }

    /// Makes the folder; `false` if there was one.
    pub fn create(&self) -> Result<bool, CommandError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for path in [Path::new(ROOT), &self.path] {
            match builder.create(path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    if path == self.path {
                        return Ok(false);
                    }
                }
                made => made.map_err(CommandError::file("create", path))?,
            }
        }
        Ok(true)
    }

    /// Whether there is such a folder.
    pub fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Keeps other commands from building or removing this lab while the guard lives.
    ///
    /// The kernel lets go of it when the process has ended, however it ends, which after a SIGKILL
    /// can take it half a second: hence the patience. A plugin that is still at work then holds it
    /// too, by inheritance, and cannot write into a folder that is just being removed.
    pub fn lock(&self) -> Result<Flock<File>, CommandError> {
        let mut file = File::open(&self.path).map_err(CommandError::file("open", &self.path))?;
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(CommandError::call("pass on", &self.path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                Err((_, Errno::EWOULDBLOCK)) => {
                    let path = self.path.display();
                    let problem = "another flatnet is building or removing this lab; wait for it";
                    return Err(CommandError::Refused(format!("{path}: {problem}")));
                }
                Err((_, errno)) => return Err(CommandError::call("lock", &self.path)(errno)),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The range file.
    pub fn range_file(&self) -> PathBuf {
        self.path.join("pods.json")
    }

    /// The folder for the plugin's leases and locks.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The folder with the network configuration alone, as runtimes want it.
    pub fn configuration_dir(&self) -> PathBuf {
        self.path.join("net.d")
    }

    /// Writes the record; a reader sees the old one or the new one, never half of it.
    pub fn save(&self, record: &LabRecord) -> Result<(), CommandError> {
        let path = self.path.join(RECORD);
        let text = serde_json::to_string_pretty(record)
            .map_err(|e| CommandError::file("write", &path)(e.into()))?;
        self.write(&path, &text)
    }

    /// Writes what people and runtimes read.
    pub fn save_inputs(&self, record: &LabRecord, range_file: &str) -> Result<(), CommandError> {
        self.write(&self.range_file(), range_file)?;
        let folder = self.configuration_dir();
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(CommandError::file("create", &folder))?;
        let file = folder.join(format!("10-{}.conflist", record.name));
        self.write(&file, &format!("{:#}\n", record.configuration_list()))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), CommandError> {
        let new = self.path.join("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, path))
            .map_err(CommandError::file("write", path))
    }

    /// Reads the record; `None` if there is none, as when `up` died before it made anything.
    pub fn load(&self) -> Result<Option<LabRecord>, CommandError> {
        let path = self.path.join(RECORD);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(CommandError::file("read", &path))?,
        };
        let record = serde_json::from_str(&text);
        Ok(Some(record.map_err(|e| CommandError::file("read", &path)(e.into()))?))
    }

    /// Removes the folder and all in it.
    pub fn remove(&self) -> Result<(), CommandError> {
        fs::remove_dir_all(&self.path).map_err(CommandError::file("remove", &self.path))
    }
}

/// The folder that all labs share.
pub struct Root;

impl Root {
    /// The file that says what was done to `/run/netns`. No lab has a dot in its name.
    pub fn note() -> PathBuf {
        Path::new(ROOT).join(".netns")
    }

    /// Holds off other labs' beginnings and ends.
    pub fn lock() -> Result<Flock<File>, CommandError> {
        let path = Path::new(ROOT);
        let file = File::open(path).map_err(CommandError::file("open", path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| CommandError::call("lock", path)(errno))
    }

    /// Whether no lab is left.
    pub fn is_empty() -> bool {
        let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).all(|path| path == Self::note())
    }

    /// Removes the folder if nothing is in it.
    pub fn remove_if_empty() {
        // Another lab's folder keeps it, which is as it should be.
        let _ = fs::remove_dir(ROOT);
    }
}
