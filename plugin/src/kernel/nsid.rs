//! The numbers by which a network namespace knows others: the end of a veth pair says by one where the
//! other end is. `ip netns list-id`

use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;

use super::KernelError;
use super::attribute::find;
use super::decode::number;
use super::netns::Netns;
use super::route_socket::{Request, RouteSocket};

/// Asks for the numbers that one namespace has for others.
pub struct Numbers(RouteSocket);

impl Numbers {
    /// Those of the calling thread's namespace.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self(RouteSocket::open()?))
    }

    /// The number of a namespace, as `Link::peer_netns` has it; `None` if it has none yet, so that no
    /// device says that its peer is there.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of(&mut self, netns: &Netns) -> Result<Option<u32>, KernelError> {
        // A descriptor is never negative.
        let fd = netns.as_fd().as_raw_fd().unsigned_abs();
        Ok(self.ask([NsidAttribute::Fd(fd)])?.pop())
    }

    /// The numbers of the namespaces that processes are in; of one that has ended there is none. The
    /// kernel lets no process look at some processes' namespaces, but tells these.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of_processes(&mut self, processes: &[u32]) -> Result<Vec<u32>, KernelError> {
        self.ask(processes.iter().map(|process| NsidAttribute::Pid(*process)))
    }

    fn ask(
        &mut self,
        about: impl IntoIterator<Item = NsidAttribute>,
    ) -> Result<Vec<u32>, KernelError> {
        let requests = about.into_iter().map(|namespace| {
            let mut message = NsidMessage::default();
            message.attributes.push(namespace);
            Request { message: RouteNetlinkMessage::GetNsId(message), flags: 0 }
        });
        let (mut ids, mut refused) = (Vec::new(), Ok(()));
        self.0.exchange(requests, |_, answer| match answer {
            Ok(row) => ids.extend(read(row)),
            Err(refusal) if refusal.errno == Errno::ESRCH => {}
            Err(refusal) => refused = Err(refusal.of("ip netns list-id")),
        })?;
        refused.map(|()| ids)
    }
}

/// The number in the payload of a `RTM_NEWNSID`; -1 says that there is none.
fn read(payload: &[u8]) -> Option<u32> {
    const RTGENMSG: usize = 4;
    const NETNSA_NSID: u16 = 1;
    const NOT_ASSIGNED: u32 = u32::MAX;
    let id = number(find(payload.get(RTGENMSG..)?, NETNSA_NSID)?)?;
    (id != NOT_ASSIGNED).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_and_none_is_none() {
        let answer = |id: i32| [&[0, 0, 0, 0, 8, 0, 1, 0][..], &id.to_ne_bytes()].concat();
        assert_eq!(read(&answer(7)), Some(7));
        assert_eq!(read(&answer(0)), Some(0));
        assert_eq!(read(&answer(-1)), None);
        assert_eq!(read(&answer(7)[..9]), None, "cut short");
    }
}
