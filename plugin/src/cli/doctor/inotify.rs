//! Whether `flatnet sync --watch` can listen to files: each user has few inotify instances, and other
//! programs may use up root's.

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};

use crate::cli::finding::Finding;
use crate::error::Error;
use crate::upkeep::inotify::more_instances;

/// Takes an instance, and gives it back.
pub fn check() -> Result<Vec<Finding>, Error> {
    Ok(match Inotify::init(InitFlags::IN_CLOEXEC) {
        Err(errno @ Errno::EMFILE) => vec![judge(errno)],
        // What else could keep it from being had is no limit of the user's.
        _ => Vec::new(),
    })
}

fn judge(errno: Errno) -> Finding {
    Finding::run(
        format!(
            "no inotify instance is left for this user (fs.inotify.max_user_instances): {errno}"
        ),
        "`flatnet sync --watch` and flatnet-sync.service cannot start: changes of the cluster are not \
         applied until the next pod comes; nor can many other programs",
        more_instances(),
    )
}
