//! What the checks of one network look at.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flatnet_conf::{NetworkConf, Node};

use crate::author::Author;
use crate::cli::look::Look;
use crate::error::Error;
use crate::kernel::{Link, Observe as _};
use crate::overlay::agent::author;
use crate::overlay::mtu::{self, OverlayMtu};
use crate::overlay::underlay::Underlay;

/// One network on this node.
pub struct Scene<'a> {
    /// Its configuration.
    pub conf: &'a NetworkConf,
    /// Who writes its range file.
    pub author: Author,
    /// Range file, kernel, and the difference.
    pub look: Look,
    /// The ways to the peers.
    pub underlay: Underlay,
    /// The VXLAN device; `None` if it is not there.
    pub overlay: Option<Link>,
    /// The MTU that it should have.
    pub mtu: OverlayMtu,
    /// The peers that a finding explains already why they are silent, if they are, and those that answer no echo requests
    /// only.
    pub explained: BTreeSet<String>,
    /// Whether another program has what the overlay device needs, so that none can be made.
    pub clash: bool,
    /// The command that makes the kernel what the range file says.
    pub sync: String,
}

impl<'a> Scene<'a> {
    /// Looks at a network.
    ///
    /// # Errors
    /// Its configuration or range file cannot be used, or the kernel cannot be asked.
    pub fn at(conf: &'a NetworkConf, sync: String) -> Result<Self, Error> {
        let mut look = Look::at(conf)?;
        let Look { kernel, site, .. } = &mut look;
        let underlay = Underlay::look(kernel, site.file(), &site.node)?;
        let mtu = mtu::decide(kernel, &underlay, &site.node, conf.mtu)?;
        let overlay = kernel.link(&crate::identity::overlay_name(site.vni()))?;
        let explained = BTreeSet::new();
        let author = author(conf);
        Ok(Self { conf, author, look, underlay, overlay, mtu, explained, clash: false, sync })
    }

    /// The peers that nothing explains yet.
    pub fn unexplained(&self) -> impl Iterator<Item = &Node> {
        let site = &self.look.site;
        let peers = site.file().nodes.iter().filter(|peer| peer.name != site.node.name);
        peers.filter(|peer| !self.explained.contains(&peer.name))
    }

    /// The addresses on the overlay by which this node can reach a peer.
    pub fn shared_addresses(&self, peer: &Node) -> Vec<IpAddr> {
        let own = self.look.site.node.vtep_addresses();
        let mut addresses = peer.vtep_addresses();
        addresses.retain(|to| own.iter().any(|own| own.is_ipv4() == to.is_ipv4()));
        addresses
    }

    /// The range file's path, for messages.
    pub fn range_file(&self) -> String {
        self.conf.range_file.clone().unwrap_or_default().display().to_string()
    }
}
