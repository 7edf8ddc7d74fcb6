//! One network on this node, looked at and not touched: what several commands tell about it.

use flatnet_conf::NetworkConf;
use flatnet_ipam::{Leases, Listing};

use crate::attachment::unleased;
use crate::error::Error;
use crate::kernel::{Mode, Netlink};
use crate::overlay::site::Site;
use crate::upkeep::sync::{self, SyncReport};

/// What should stand, what does, and who can be asked for more.
pub struct Look {
    /// The node's kernel.
    pub kernel: Netlink,
    /// Inode of the node's network namespace.
    pub netns: u64,
    /// The range file and this node of it.
    pub site: Site,
    /// What `flatnet sync` would change.
    pub drift: SyncReport,
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

    /// The attachments of this node: by their leases, and those that have none by what the kernel
    /// tells; these lack a sandbox.
    ///
    /// # Errors
    /// The state folder cannot be read, or the kernel cannot be asked.
    pub fn attachments(&mut self, conf: &NetworkConf) -> Result<Listing, Error> {
        let ends = unleased::node_ends(&mut self.kernel, &conf.name)?;
        let mut listing = self.listing(conf)?;
        let more = unleased::attachments(&mut self.kernel, &conf.name, ends, &listing.leases)?;
        listing.leases.extend(more);
        Ok(listing)
    }

    /// The leases of this node, under whatever name it had when they were made.
    fn listing(&self, conf: &NetworkConf) -> Result<Listing, Error> {
        let mut all = Listing::default();
        for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
            let leases = leases?;
            let mut listing = leases.list()?;
            if leases.node() != self.site.node.name {
                // Several nodes may keep their state side by side, as namespaces of one machine do.
                listing.leases.retain(|lease| lease.attachment.netns == self.netns);
                listing.broken.clear();
            }
            all.leases.extend(listing.leases);
            all.broken.extend(listing.broken);
        }
        Ok(all)
    }

    /// The leases of this node; `None` if it never had any.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn leases(&self, conf: &NetworkConf) -> Result<Option<Leases>, Error> {
        Ok(Leases::existing(&conf.state_dir, &conf.name, &self.site.node.name)?)
    }
}
