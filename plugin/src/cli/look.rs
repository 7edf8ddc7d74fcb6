//! One network on this node, looked at and not touched: what several commands tell about it.

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Leases, Listing};

use crate::error::Error;
use crate::kernel::{Mode, Netlink};
use crate::overlay::Site;
use crate::sync::{self, Report};

/// What should stand, what does, and who can be asked for more.
pub struct Look {
    /// The node's kernel.
    pub kernel: Netlink,
    /// Inode of the node's network namespace.
    pub netns: u64,
    /// The range file and this node of it.
    pub site: Site,
    /// What `flatnet sync` would change.
    pub drift: Report,
}

impl Look {
    /// Looks at a network.
    ///
    /// # Errors
    /// Those of [`sync::run`].
    pub fn at(conf: &NetworkConf) -> Result<Self, Error> {
        let mut kernel = Netlink::open()?;
        let netns = kernel.netns().inode()?;
        let site = Site::find(&mut kernel, conf)?;
        let drift = sync::run_at(&site, &mut kernel, conf, Mode::Plan, &mut |_, _| {})?;
        Ok(Self { kernel, netns, site, drift })
    }

    /// The leases of this node, none if it never had any.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn leases(&self, conf: &NetworkConf) -> Result<Listing, Error> {
        match Leases::existing(&conf.state_dir, &conf.name, &self.site.node.name)? {
            Some(leases) => Ok(leases.list()?),
            None => Ok(Listing::default()),
        }
    }
}
