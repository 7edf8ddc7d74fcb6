//! The document that says what the network is. It is read when the agent begins, for all that an agent holds stands on
//! it; where it says something else later, the agent ends, and its supervisor starts it again. A mounted ConfigMap
//! changes in its place, and so does a file that a configuration manager writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flatnet_conf::{ClusterNetwork, Error};
use tokio::time::sleep;

use crate::conflist::{Conflist, conflist};
use crate::told::Told;

/// How often the document is looked at. A kubelet takes a minute to bring a changed ConfigMap.
const EVERY: Duration = Duration::from_secs(5);

/// Where the document is, and for whom it is read.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its path.
    pub path: PathBuf,
    /// This node's name.
    pub node: String,
    /// The range file, if it is not the usual one.
    pub range_file: Option<PathBuf>,
}

/// What it says.
#[derive(Clone, Debug)]
pub struct Said {
    /// What all nodes have in common.
    pub network: ClusterNetwork,
    /// The range file.
    pub range_file: PathBuf,
    /// The configuration for this node.
    pub conflist: Conflist,
}

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or breaks a rule.
    pub fn read(&self) -> Result<Said, Error> {
        let network = ClusterNetwork::load(&self.path)?;
        let usual = || Path::new("/var/lib/flatnet").join(format!("{}.json", network.name));
        let range_file = self.range_file.clone().unwrap_or_else(usual);
        let conflist = conflist(&self.path, &network, &self.node, &range_file)?;
        Ok(Said { network, range_file, conflist })
    }

    /// Returns when it says something else than this. One that is wrong is told of and is none: what stands goes on.
    pub async fn differs(&self, network: ClusterNetwork) {
        let mut told = Told::default();
        loop {
            sleep(EVERY).await;
            let wrong = match self.read() {
                Ok(said) if said.network != network => return,
                Ok(_) => None,
                Err(error) => Some(format!("{error}; the network stays what it was")),
            };
            told.update(wrong.into_iter().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_right_and_says_something_else_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.json");
        let document = Document { path: path.clone(), node: "a".to_owned(), range_file: None };
        let text =
            |rest: &str| format!(r#"{{"name":"pods","clusterCIDRs":["10.1.0.0/16"]{rest}}}"#);
        fs::write(&path, text("")).unwrap();
        let said = document.read().unwrap();
        assert_eq!(said.range_file, Path::new("/var/lib/flatnet/pods.json"));
        let differs =
            async || timeout(3 * EVERY, document.differs(said.network.clone())).await.is_ok();
        for (rest, expected) in [
            ("", false),
            (r#", "vni": 4096"#, false),
            (r#","vni":0"#, false),
            (r#","conflist":{"plugins":[]}"#, false),
            (r#","vni":7"#, true),
            (r#","conflist":{"plugins":[{"type":"flatnet","mtu":1400}]}"#, true),
        ] {
            fs::write(&path, text(rest)).unwrap();
            assert_eq!(differs().await, expected, "{rest}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!differs().await, "a folder that is mounted anew is empty for a moment");
    }
}
