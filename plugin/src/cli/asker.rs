//! As whom the network is asked.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{SockaddrStorage, setsockopt, sockopt};

use crate::overlay::underlay::Place;

/// As whom hosts are asked: by default as the kernel chooses.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    source: Option<IpAddr>,
    vrf: Option<OsString>,
}

impl Asker {
    /// As the VTEP that is there asks: what it is answered is what outer packets are.
    pub fn at(place: &Place) -> Self {
        let vrf = place.vrf.as_ref().map(|vrf| vrf.name.clone().into());
        Self { source: place.flow.source, vrf }
    }

    /// Makes a socket of the source's family ask so.
    ///
    /// # Errors
    /// The source or the VRF is there no more.
    pub fn bind(&self, socket: &(impl AsFd + AsRawFd)) -> io::Result<()> {
        if let Some(vrf) = &self.vrf {
            setsockopt(socket, sockopt::BindToDevice, vrf)?;
        }
        if let Some(source) = self.source {
            let address = SockaddrStorage::from(SocketAddr::new(source, 0));
            nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
        }
        Ok(())
    }
}
