//! VXLAN devices that were made in one namespace and are in another. Their VNI and their UDP port are taken
//! where they were made (`vxlan->net` in the kernel), where nothing shows them.

use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::attribute::find;
use super::netns::Netns;
use super::route_socket::Request;
use super::{KernelError, Link, Netlink, decode, question};

impl Netlink {
    /// The VXLAN devices of this namespace that were made in `home`. `ip -d link show type vxlan`, as
    /// far as `link-netnsid` is `home`'s
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn vxlans_made_in(&mut self, home: &Netns) -> Result<Vec<Link>, KernelError> {
        let made = self.socket.dump("ip link show type vxlan", question::vxlans(), made)?;
        if made.is_empty() {
            return Ok(Vec::new());
        }
        // The dump has numbered the namespaces that it tells of.
        let known = self.number_of(home)?;
        let made = made.into_iter().filter(|(number, _)| Some(*number) == known);
        Ok(made.map(|(_, link)| link).collect())
    }

    /// By which number this namespace knows another; `None` if it does not.
    fn number_of(&mut self, other: &Netns) -> Result<Option<u32>, KernelError> {
        const NETNSA_NSID: u16 = 1;
        const RTGENMSG: usize = 4;
        let mut message = NsidMessage::default();
        // The kernel looks the descriptor up in the calling process, whatever its namespace.
        let Ok(fd) = u32::try_from(other.as_fd().as_raw_fd()) else { return Ok(None) };
        message.attributes.push(NsidAttribute::Fd(fd));
        let request = Request { message: RouteNetlinkMessage::GetNsId(message), flags: 0 };
        let read = |payload: &[u8]| decode::number(find(payload.get(RTGENMSG..)?, NETNSA_NSID)?);
        self.ask("ip netns list-id", request, read)
    }
}

/// A device that was made in another namespace, with the number of that.
fn made(payload: &[u8]) -> Option<(u32, Link)> {
    const IFINFOMSG: usize = 16;
    const IFLA_LINK_NETNSID: u16 = 37;
    let attributes = payload.get(IFINFOMSG..)?;
    Some((decode::number(find(attributes, IFLA_LINK_NETNSID)?)?, decode::link(payload)?))
}
