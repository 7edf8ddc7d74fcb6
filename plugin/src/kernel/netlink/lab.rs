//! What only the networks of `flatnet lab` need: a bridge. No overlay has one, so that neither the
//! trait nor the fake knows of it.

use rtnetlink::{LinkBridge, LinkUnspec};

use super::super::{Dev, KernelError, encode};
use super::Netlink;

impl Netlink {
    /// Makes a bridge, down. `ip link add NAME type bridge`
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn create_bridge(&mut self, name: &str) -> Result<Dev, KernelError> {
        let command = format!("ip link add {name} type bridge");
        let made = self.create(&command, name, encode::new_link(LinkBridge::new(name).build()))?;
        Ok(made.dev)
    }

    /// Makes a device a port of a bridge. `ip link set DEV master BRIDGE`
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn join_bridge(&mut self, dev: &Dev, bridge: &Dev) -> Result<(), KernelError> {
        let command = format!("ip link set {} master {}", dev.name, bridge.name);
        let message = LinkUnspec::new_with_index(dev.index).controller(bridge.index).build();
        self.ask(&command, encode::set_link(message), |_| Some(()))?;
        Ok(())
    }
}
