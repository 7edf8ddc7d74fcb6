//! The images of a cluster: Kubernetes' own test server, and what holds the namespaces of a pod.

use std::path::{Path, PathBuf};

use flatnet_tests::image::{Image, pack};

use crate::tools;

/// Answers HTTP and UDP, and asks others (`/dial`).
pub const AGNHOST: &str = "localhost/flatnet/agnhost:test";
/// What runs in a pod besides its containers.
pub const PAUSE: &str = "localhost/flatnet/pause:test";

/// Writes an archive of both into a folder.
pub fn archive(folder: &Path) -> PathBuf {
    let agnhost = tools::kubernetes().join("agnhost");
    let images = [
        Image { name: AGNHOST, entrypoint: &["/bin/agnhost"], command: &["pause"] },
        Image { name: PAUSE, entrypoint: &["/bin/sleep"], command: &["2147483647"] },
    ];
    pack(folder, &[(agnhost, "bin/agnhost".to_owned())], &images)
}
