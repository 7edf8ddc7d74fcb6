//! What connection tracking knows, forgotten as `conntrack --flush` does it.

use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::netns::Netns;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`: without an attribute, all of both families.
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_ACK`
const FLAGS: u16 = 1 | 4;
/// `NLMSG_ERROR`, with the number 0: done.
const ANSWER: u16 = 2;

/// Forgets all connections of a namespace.
pub fn flush(netns: &Netns) {
    let socket = netns.run(|| {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC);
        socket(kind.0, kind.1, kind.2, SockProtocol::NetlinkNetFilter)
    });
    let socket = socket.expect("a netlink socket");
    // `struct nlmsghdr`, then `struct nfgenmsg` for any family.
    let message =
        [&20_u32.to_ne_bytes()[..], &DELETE.to_ne_bytes(), &FLAGS.to_ne_bytes(), &[0; 12]].concat();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty()).expect("ask the kernel");
    let mut answer = [0; 64];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer");
    assert!(length >= 20, "{answer:?}");
    assert_eq!(answer[4..6], ANSWER.to_ne_bytes(), "{answer:?}");
    assert_eq!(answer[16..20], [0; 4], "{answer:?}");
}
