//! The devices of the namespace, as events tell of them: what a route or a setting says of an index
//! depends on whose that is.

use std::collections::HashMap;

use crate::kernel::{Event, Link, LinkKind};

/// A device as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is.
    pub link: Link,
    /// Whether it has a carrier; `None` as long as no event has said.
    pub running: Option<bool>,
}

/// All of them, by index.
#[derive(Debug, Default)]
pub struct Devices(HashMap<u32, Device>);

impl Devices {
    /// Those that are there now.
    pub fn of(links: Vec<Link>) -> Self {
        let device = |link: Link| (link.dev.index, Device { link, running: None });
        Self(links.into_iter().map(device).collect())
    }

    /// The same as they are now. Of one that is as it was, whether it has a carrier is still known.
    pub fn renew(&mut self, links: Vec<Link>) {
        let known = std::mem::replace(self, Self::of(links));
        for (index, device) in &mut self.0 {
            let before = known.get(*index).filter(|before| before.link == device.link);
            device.running = before.and_then(|before| before.running);
        }
    }

    /// The device of an index.
    pub fn get(&self, index: u32) -> Option<&Device> {
        self.0.get(&index)
    }

    /// Takes in what an event says; returns the device as it was before.
    pub fn learn(&mut self, event: &Event) -> Option<Device> {
        match event {
            Event::Link(link, running) => {
                let device = Device { link: link.clone(), running: Some(*running) };
                self.0.insert(link.dev.index, device)
            }
            Event::LinkGone(link) => self.0.remove(&link.dev.index),
            _ => None,
        }
    }
}

impl Device {
    /// Whether a container or a virtual machine of this machine may be all that is behind it: see
    /// [`crate::overlay::outlets`].
    pub fn is_local_end(&self) -> bool {
        self.link.kind == LinkKind::Veth || self.link.is("tun") && self.link.mac.is_some()
    }
}
