//! Removing a device without waiting until the kernel has tidied up after it.
//!
//! The kernel takes a device away in well under a millisecond: it switches it off, drops its routes,
//! neighbour entries and addresses, and announces that it is gone (`RTM_DELLINK`). But it returns
//! from the request some 15 ms later, after an `rcu_barrier` that no signal interrupts
//! (`netdev_run_todo` in net/core/dev.c). So a child makes the request, we go on at the
//! announcement, and the child ends when the kernel lets it.
//!
//! The child outlives us, and the first process of our PID namespace has to collect it. That is sure of
//! the machine's own; that of a container may be a runtime that collects its own children only, and would
//! keep one of ours for each DEL. There we remove the device the plain way.
//!
//! This way only ever says whether it saw the device go. Whatever else happens (no child can be
//! had, it is killed, the kernel refuses, announcements are lost), the caller removes the device the
//! plain way, which tells what is wrong; if the child was faster after all, it finds nothing.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use nix::unistd::{ForkResult, fork, pipe2};
use rtnetlink::LinkUnspec;

/// `RTMGRP_LINK`: announcements about devices.
const LINK_EVENTS: u32 = 1;
/// `struct nlmsghdr` and `struct ifinfomsg`: as much of an announcement as we read.
const HEADERS: usize = 32;

/// Removes the device with this index of the calling thread's own namespace. `true` if it was seen
/// to go; `false` says nothing about it.
///
/// An index is never used again, so a child that comes late cannot hit a device of the same name.
pub fn see_off(index: u32) -> bool {
    if !orphans_are_collected() {
        return false;
    }
    remove(index).unwrap_or_else(|errno| {
        log::debug!("removing device {index} by a child: {errno}");
        false
    })
}

/// Whether this is the machine's own PID namespace; in doubt it is not.
fn orphans_are_collected() -> bool {
    /// `PROC_PID_INIT_INO` of the kernel, ever since such namespaces have inodes (3.8).
    const FIRST: u64 = 0xefff_fffc;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST)
}

fn remove(index: u32) -> nix::Result<bool> {
    // Before the child: no announcement is missed.
    let announcements = rtnetlink()?;
    bind(announcements.as_raw_fd(), &NetlinkAddr::new(0, LINK_EVENTS))?;
    let (kernel, request) = (rtnetlink()?, request(index));
    // Held open by the child alone, so that its end shows.
    let (end, lifeline) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child makes async-signal-safe calls only, on what was prepared, and never returns.
    match unsafe { fork() }? {
        ForkResult::Child => child(&kernel, &lifeline, &request),
        ForkResult::Parent { .. } => drop((kernel, lifeline)),
    }
    wait(&announcements, &end, index)
}

fn rtnetlink() -> nix::Result<OwnedFd> {
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
    socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
}

/// The message, without a request for an acknowledgement: what the child is told is not read.
fn request(index: u32) -> Vec<u8> {
    let link = LinkUnspec::new_with_index(index).build();
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::DelLink(link));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Makes the request, in a session of its own and with nothing open but what it needs: no signal to
/// our caller's process group reaches it, and no runtime that reads our output to its end waits for
/// it. We do not wait for it either: it outlives us, and init collects it.
fn child(kernel: &OwnedFd, lifeline: &OwnedFd, request: &[u8]) -> ! {
    // SAFETY: plain system calls on descriptors and memory that live until _exit.
    unsafe {
        libc::setsid();
        let alone = libc::dup2(kernel.as_raw_fd(), 0) == 0
            && libc::dup2(lifeline.as_raw_fd(), 1) == 1
            // Not by its function, which musl lacks. Kernels before 5.9 lack the call.
            && libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0) == 0;
        if alone {
            libc::write(0, request.as_ptr().cast(), request.len());
        }
        libc::_exit(0)
    }
}

/// Waits for the announcement or for the child's end without one.
fn wait(announcements: &OwnedFd, end: &OwnedFd, index: u32) -> nix::Result<bool> {
    loop {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut ready = [watch(announcements.as_fd()), watch(end.as_fd())];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled?,
        };
        let ended = ready[1].any().unwrap_or(true);
        // A child that has ended well has been announced by now.
        while let Some(announcement) = next(announcements)? {
            if says_gone(&announcement, index) {
                return Ok(true);
            }
        }
        if ended {
            return Ok(false);
        }
    }
}

/// The head of the next announcement; `None` if there is none yet.
fn next(announcements: &OwnedFd) -> nix::Result<Option<[u8; HEADERS]>> {
    let mut headers = [0; HEADERS];
    loop {
        match recv(announcements.as_raw_fd(), &mut headers, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => return Ok(Some(headers)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            // ENOBUFS: some were lost, perhaps the one we wait for.
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether an announcement says that the device is gone. That it has left a bridge is announced by
/// a message of the same type, but of another family.
fn says_gone(announcement: &[u8; HEADERS], index: u32) -> bool {
    announcement[4..6] == libc::RTM_DELLINK.to_ne_bytes()
        && announcement[16] == libc::AF_UNSPEC as u8
        && announcement[20..24] == index.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkBuffer, NetlinkDeserializable, NetlinkHeader};

    use super::*;

    fn announcement(kind: u16, family: i32, index: u32) -> [u8; HEADERS] {
        let mut bytes = [0xff; HEADERS];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[16] = family as u8;
        bytes[20..24].copy_from_slice(&index.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_its_own_end_counts() {
        let gone = announcement(libc::RTM_DELLINK, libc::AF_UNSPEC, 7);
        assert!(says_gone(&gone, 7));
        assert!(!says_gone(&gone, 8), "another device");
        assert!(!says_gone(&announcement(libc::RTM_NEWLINK, libc::AF_UNSPEC, 7), 7));
        assert!(!says_gone(&announcement(libc::RTM_DELLINK, libc::AF_BRIDGE, 7), 7));
    }

    #[test]
    fn the_request_names_the_device_by_its_index_alone() {
        let bytes = request(7);
        let frame = NetlinkBuffer::new_checked(&bytes).unwrap();
        assert_eq!((frame.length() as usize, frame.flags()), (bytes.len(), NLM_F_REQUEST));
        let mut header = NetlinkHeader::default();
        header.message_type = frame.message_type();
        match RouteNetlinkMessage::deserialize(&header, frame.payload()).unwrap() {
            RouteNetlinkMessage::DelLink(link) => {
                assert_eq!((link.header.index, link.attributes), (7, vec![]));
            }
            other => panic!("{other:?}"),
        }
    }
}
