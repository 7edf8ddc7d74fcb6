//! Names that are safe as file names, from names that are not.
//!
//! CNI sets no limit on the length of a container ID or a network's name, a file name ends at 255
//! bytes (NAME_MAX). So the attachment is hashed, and so is a network's name that is too long.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest network name that serves as a folder's name as it is.
const LONGEST_NAME: usize = 200;

/// Hex digits in a key: 128 bits, beyond any accident.
const DIGITS: usize = 32;

/// The first of them, which fit into a device's name.
const HEAD: usize = 11;

/// One attachment (network, container ID, ifname), hashed: 32 lower-case hex digits.
///
/// The same three names give the same key on every node and in every version of flatnet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(String);

impl Key {
    /// The key of the interface `ifname` of a container in a network.
    pub fn new(network: &str, container_id: &str, ifname: &str) -> Key {
        Key(digest(&[network, container_id, ifname]))
    }

    /// The key of an attachment of which only the head is known: zeros follow. No whole key looks like
    /// this, but for an accident of 84 bits.
    ///
    /// `None` if that is no head of a key.
    pub fn from_head(head: &str) -> Option<Key> {
        (head.len() == HEAD).then(|| Key::from_file_name(&format!("{head:0<DIGITS$}"))).flatten()
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eleven hex digits: what is known of an attachment by its device's name.
    pub fn head(&self) -> &str {
        self.0.get(..HEAD).unwrap_or_default()
    }

    /// The key of which only this one's head is known.
    pub fn less_tail(&self) -> Key {
        Key(format!("{:0<DIGITS$}", self.head()))
    }

    /// Whether only its head is known.
    pub fn is_head(&self) -> bool {
        *self == self.less_tail()
    }

    /// The key that names this file in `leases/`, if the name is one.
    pub(crate) fn from_file_name(name: &str) -> Option<Key> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (name.len() == DIGITS && name.bytes().all(hex)).then(|| Key(name.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of one network: `<state_dir>/<network>`, the name shortened and completed by its
/// hash where it is too long. The `~` cannot occur in a network's name, so nothing collides.
pub fn network_folder(state_dir: &Path, network: &str) -> PathBuf {
    if network.len() <= LONGEST_NAME {
        return state_dir.join(network);
    }
    let head: String = network.chars().take(LONGEST_NAME / 4).collect();
    state_dir.join(format!("{head}~{}", digest(&[network])))
}

/// The folder of one node of a network, where its leases and locks are.
pub fn node_folder(state_dir: &Path, network: &str, node: &str) -> PathBuf {
    network_folder(state_dir, network).join(node)
}

/// Each part goes in with its length before it, so that no two lists of parts read alike.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut text = String::with_capacity(DIGITS);
    for byte in hash.finalize().iter().take(DIGITS / 2) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_tell_attachments_apart() {
        // printf '\4\0\0\0\0\0\0\0pods\2\0\0\0\0\0\0\0c1\4\0\0\0\0\0\0\0eth0' | sha256sum
        let key = Key::new("pods", "c1", "eth0");
        assert_eq!(key.as_str(), "b06d130bbf952abb267ce10e53dc0ccc");
        assert_eq!(Key::from_file_name(key.as_str()), Some(key.clone()));
        for (network, container, ifname) in
            [("pod", "sc1", "eth0"), ("podsc1", "", "eth0"), ("pods", "c1e", "th0")]
        {
            assert_ne!(Key::new(network, container, ifname), key);
        }
    }

    #[test]
    fn other_file_names_are_no_keys() {
        let upper = "A".repeat(32);
        for name in ["", "00", "lock", &"0".repeat(33), &"g".repeat(32), &upper, "é"] {
            assert_eq!(Key::from_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_head_is_known_as_such() {
        let key = Key::new("pods", "c1", "eth0");
        let head = Key::from_head("b06d130bbf9").unwrap();
        assert_eq!(head.as_str(), "b06d130bbf9000000000000000000000");
        assert_eq!((key.less_tail(), key.head()), (head.clone(), head.head()));
        assert_eq!((key.is_head(), head.is_head()), (false, true));
        assert_eq!(Key::from_file_name(head.as_str()), Some(head), "it is filed like any other");
        for name in ["", "b06d130bbf", "b06d130bbf95", "B06d130bbf9", "b06d130bbfé"] {
            assert_eq!(Key::from_head(name), None, "{name}");
        }
    }

    #[test]
    fn folders_keep_short_names_and_shorten_long_ones() {
        let state = Path::new("/run/flatnet");
        assert_eq!(node_folder(state, "pods", "node-a"), Path::new("/run/flatnet/pods/node-a"));
        let long = |last: char| network_folder(state, &format!("{}{last}", "n".repeat(300)));
        let name = long('a').file_name().map(|n| n.len());
        assert_eq!(name, Some(50 + 1 + DIGITS));
        assert_ne!(long('a'), long('b'));
    }
}
