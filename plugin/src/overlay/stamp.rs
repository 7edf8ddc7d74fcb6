//! The stamp: what was last applied of a network on this node, in `overlay.json` beside the leases.
//!
//! An ADD or STATUS that finds it fresh knows the node's name, ranges and MTU without opening the range
//! file, so it costs the same with three nodes and with ten thousand. DEL and GC
//! learn from it which node this namespace is, `remove` which range file and which folder. Where it is lost,
//! the next ADD, STATUS or `sync` reads the range file and writes it again.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flatnet_conf::{NetworkConf, Range};
use flatnet_ipam::{network_folder, node_folder};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::kernel::Vxlan;
use crate::overlay::desired;
use crate::overlay::fast_path;

const FILE: &str = "overlay.json";
/// A release that changes what is applied changes this, and so applies it once.
const FORMAT: u32 = 8;
/// File times are as coarse as the kernel's tick: a file changed this recently may change again
/// without a trace, so it is not taken for known yet.
pub const SETTLED: Duration = Duration::from_millis(100);

/// Which content of the range file, as far as stat(2) tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    format: u32,
    /// Where the range file was.
    pub range_file: PathBuf,
    /// Its content; `None` if it had just changed when it was read.
    source: Option<FileState>,
    /// Inode of the network namespace that plays this node.
    pub netns: u64,
    /// The network's name.
    pub network: String,
    /// The node's name in the range file.
    pub node: String,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// The network's VNI.
    pub vni: u32,
    /// UDP port of the overlay.
    pub port: u16,
    /// Index of the VRF that the VTEP is in.
    pub vrf: Option<u32>,
    /// Index of the device by which IPv4 packets to the world left, if pods have IPv4 addresses.
    pub world: Option<u32>,
    /// The MTU of overlay and pods, in bytes.
    pub mtu: u32,
    /// An address that a route of ours leads to, by which to see whether routes still stand; `None`
    /// without peers.
    pub witness: Option<IpAddr>,
    /// The node's ranges.
    pub ranges: Vec<Range>,
    /// Options of the network configuration that went into it.
    configured_mtu: Option<u32>,
    ip_masq: bool,
    ip_masq_nodes: bool,
    /// Which version of the fast path's programs was to be brought about, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fast_path: Option<String>,
    /// The numbers of those that packets take it by, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<[u32; 2]>,
    /// The file that it was read from; none for one that was made here.
    #[serde(skip)]
    file: Option<FileState>,
}

/// What a node's overlay is made of, besides where it came from.
#[derive(Debug)]
pub struct Applied<'a> {
    /// The node in the range file.
    pub node: &'a flatnet_conf::Node,
    /// The network's VNI.
    pub vni: u32,
    /// UDP port of the overlay.
    pub port: u16,
    /// See [`Stamp::vrf`].
    pub vrf: Option<u32>,
    /// See [`Stamp::world`].
    pub world: Option<u32>,
    /// The MTU of overlay and pods, in bytes.
    pub mtu: u32,
    /// See [`Stamp::witness`].
    pub witness: Option<IpAddr>,
    /// See [`Stamp::programs`].
    pub programs: Option<[u32; 2]>,
}

impl FileState {
    /// Looks at the range file, without reading it.
    ///
    /// # Errors
    /// Code 5 if it cannot be examined.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let found = fs::metadata(path)
            .map_err(|source| flatnet_conf::Error::Read { path: path.to_owned(), source })?;
        Ok(Self::from(&found))
    }

    /// Whether a later change of the file is sure to show by its time, also where the clock was set back.
    pub fn settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        now.duration_since(changed).unwrap_or_else(|ahead| ahead.duration()) >= SETTLED
    }
}

impl From<&Metadata> for FileState {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// The stamp of what has just been applied in the namespace with this inode.
    pub fn new(source: FileState, conf: &NetworkConf, netns: u64, applied: &Applied<'_>) -> Self {
        Self {
            format: FORMAT,
            range_file: conf.range_file.clone().unwrap_or_default(),
            source: Some(source).filter(|source| source.settled(SystemTime::now())),
            netns,
            network: conf.name.clone(),
            node: applied.node.name.clone(),
            vtep: applied.node.vtep,
            vni: applied.vni,
            port: applied.port,
            vrf: applied.vrf,
            world: applied.world,
            mtu: applied.mtu,
            witness: applied.witness,
            ranges: applied.node.ranges.clone(),
            configured_mtu: conf.mtu,
            ip_masq: conf.ip_masq,
            ip_masq_nodes: conf.ip_masq_nodes,
            fast_path: fast_path::version(conf),
            programs: applied.programs,
            file: None,
        }
    }

    /// The parameters of the VXLAN device as it was made.
    pub fn vxlan(&self) -> Vxlan {
        Vxlan { vrf: self.vrf, ..desired::vxlan(self.vni, self.port, self.vtep) }
    }

    /// Whether the range file and the options are still those that were applied.
    pub fn is_fresh(&self, source: &FileState, conf: &NetworkConf) -> bool {
        self.source.as_ref() == Some(source)
            && conf.range_file.as_ref() == Some(&self.range_file)
            && self.configured_mtu == conf.mtu
            && self.ip_masq == conf.ip_masq
            && self.ip_masq_nodes == conf.ip_masq_nodes
            && self.fast_path == fast_path::version(conf)
    }

    /// The stamp of the node that this namespace plays in a network: of the configured node, or of
    /// whichever was applied here. `None` if there is none, or none that can be read.
    pub fn find(conf: &NetworkConf, netns: u64) -> Option<Self> {
        if let Some(node) = &conf.node {
            return Self::of(conf, node, netns);
        }
        // One folder on a real node; one for each node that a namespace of this machine plays, and for
        // each name that the node had.
        let folders = fs::read_dir(network_folder(&conf.state_dir, &conf.name)).ok()?;
        let names = folders.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let stamps = names.filter_map(|node| {
            let stamp = Self::of(conf, &node, netns)?;
            let written = fs::metadata(file(conf, &node)).and_then(|found| found.modified()).ok();
            Some((written, stamp))
        });
        stamps.max_by_key(|(written, _)| *written).map(|(_, stamp)| stamp)
    }

    /// The stamps of all networks and nodes that share a state folder.
    pub fn all(state_dir: &Path) -> Vec<Self> {
        let entries = |folder: &Path| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let networks = entries(state_dir);
        let nodes = networks.iter().flat_map(|network| entries(network));
        nodes.filter_map(|node| Self::load(&node.join(FILE))).collect()
    }

    /// The stamp of a node by its name, if this namespace plays it.
    pub fn of(conf: &NetworkConf, node: &str, netns: u64) -> Option<Self> {
        let stamp = Self::load(&file(conf, node))?;
        (stamp.netns == netns && stamp.node == node).then_some(stamp)
    }

    fn load(path: &Path) -> Option<Self> {
        // Without O_NONBLOCK a FIFO in its place would stop every verb.
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let mut opened = opened.ok()?;
        // Of a device there may be no end.
        let found = opened.metadata().ok().filter(Metadata::is_file)?;
        let mut text = Vec::new();
        opened.read_to_end(&mut text).ok()?;
        let stamp: Self = serde_json::from_slice(&text).ok()?;
        (stamp.format == FORMAT).then(|| Self { file: Some(FileState::from(&found)), ..stamp })
    }

    /// Whether it is still the stamp of the node that this namespace plays: what it says was not changed.
    pub fn stands(&self, conf: &NetworkConf, netns: u64) -> bool {
        // What changes something makes a fresh one outdated first, which shows by its file.
        let read = self
            .file
            .as_ref()
            .filter(|read| self.source.is_some() && read.settled(SystemTime::now()));
        let is_same =
            |read: &FileState| FileState::of(&file(conf, &self.node)).is_ok_and(|now| now == *read);
        let bare = |stamp: &Self| Self { file: None, ..stamp.clone() };
        read.is_some_and(is_same)
            || Self::find(conf, netns).is_some_and(|now| bare(&now) == bare(self))
    }

    /// Removes the stamp of a name that this node has no more; another process may have done so.
    ///
    /// # Errors
    /// Code 5 if it cannot be removed.
    pub fn forget(conf: &NetworkConf, node: &str) -> Result<(), Error> {
        let path = file(conf, node);
        remove(&path).map_err(|source| {
            let path = path.display().to_string();
            Error::File { action: "remove", path, source }
        })
    }

    /// Makes the stamp one that is never fresh. It still tells which node this is.
    ///
    /// # Errors
    /// Code 5 if it cannot be written.
    pub fn outdate(&self, conf: &NetworkConf) -> Result<(), Error> {
        match self.source {
            Some(_) => Self { source: None, ..self.clone() }.write(conf),
            None => Ok(()),
        }
    }

    /// Puts the stamp in its place, whole or not at all.
    ///
    /// # Errors
    /// Code 5 if it cannot be written.
    pub fn write(&self, conf: &NetworkConf) -> Result<(), Error> {
        let target = file(conf, &self.node);
        let unfinished = target.with_extension("json.tmp");
        let failed = |action, path: &Path| {
            let path = path.display().to_string();
            move |source| Error::File { action, path, source }
        };
        let text = serde_json::to_vec(self).map_err(|e| Error::File {
            action: "encode",
            path: target.display().to_string(),
            source: e.into(),
        })?;
        // Whatever is in its place, a FIFO for one, is not written to.
        remove(&unfinished).map_err(failed("remove", &unfinished))?;
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(&text))
            .map_err(failed("write", &unfinished))?;
        fs::rename(&unfinished, &target).map_err(failed("rename to", &target))
    }
}

/// A missing file is fine.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn file(conf: &NetworkConf, node: &str) -> PathBuf {
    node_folder(&conf.state_dir, &conf.name, node).join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        fs::write(&path, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        assert_eq!(before, FileState::of(&path).unwrap());
        // Replaced as an editor or a configuration manager does: same length, new inode.
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_ne!(before, FileState::of(&path).unwrap());
    }

    #[test]
    fn what_is_damaged_or_older_is_no_stamp_and_the_newest_name_of_a_node_counts() {
        let folder = tempfile::tempdir().unwrap();
        let range_file = folder.path().join("r.json");
        let text = r#"{"version":1,"nodes":[
            {"name":"old","vtep":"192.0.2.1","ranges":["10.1.1.0/24"]},
            {"name":"new","vtep":"192.0.2.2","ranges":["10.1.2.0/24"]}]}"#;
        fs::write(&range_file, text).unwrap();
        let nodes = flatnet_conf::RangeFile::load(&range_file).unwrap().nodes;
        let conf = format!(
            r#"{{"cniVersion":"1.1.0","name":"pods","type":"flatnet","rangeFile":{range_file:?},
                "stateDir":{:?}}}"#,
            folder.path().join("state")
        );
        let conf = NetworkConf::parse_file(&range_file, conf.as_bytes()).unwrap().remove(0);
        let write = |node: &flatnet_conf::Node| {
            let path = file(&conf, &node.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let (vrf, world, witness, programs) = (None, None, None, None);
            let (port, mtu) = (4789, 1450);
            let applied = Applied { node, vni: 7, port, vrf, world, mtu, witness, programs };
            Stamp::new(FileState::of(&range_file).unwrap(), &conf, 1, &applied)
                .write(&conf)
                .unwrap();
            path
        };
        let found = || Stamp::find(&conf, 1).map(|stamp| stamp.node);
        for [first, second] in [[0, 1], [1, 0]] {
            write(&nodes[first]);
            let path = write(&nodes[second]);
            let later = SystemTime::now() + Duration::from_secs(60);
            fs::File::open(&path).unwrap().set_modified(later).unwrap();
            assert_eq!(found().as_ref(), Some(&nodes[second].name));
        }
        assert_eq!(Stamp::find(&conf, 2), None, "another namespace's");

        let paths = [0, 1].map(|n: usize| file(&conf, &nodes[n].name));
        let older = fs::read_to_string(&paths[0]).unwrap();
        let older = older.replace(&format!("\"format\":{FORMAT}"), "\"format\":1");
        fs::write(&paths[0], older).unwrap();
        fs::write(&paths[1], "{").unwrap();
        assert_eq!(found(), None);
        // A FIFO in the place of either, or of what it is written to first, stops nothing.
        for path in &paths {
            fs::remove_file(path).unwrap();
            for fifo in [path.clone(), path.with_extension("json.tmp")] {
                nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
        }
        assert_eq!(found(), None);
        write(&nodes[0]);
        assert_eq!(found().as_ref(), Some(&nodes[0].name));
        for _ in 0..2 {
            Stamp::forget(&conf, &nodes[0].name).unwrap();
            assert_eq!(found(), None);
        }
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_known_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        fs::write(&path, "one").unwrap();
        let source = FileState::of(&path).unwrap();
        let changed = UNIX_EPOCH + Duration::new(source.changed.0 as u64, source.changed.1 as u32);
        assert!(!source.settled(changed + Duration::from_millis(99)));
        assert!(source.settled(changed + Duration::from_millis(100)));
        assert!(!source.settled(changed - Duration::from_millis(99)), "a clock set back a little");
        assert!(source.settled(changed - Duration::from_secs(3600)), "and by far");
    }
}
