//! Whether an attachment stands finished: its ADD came to its end, and a runtime may have heard of it.
//!
//! The last that an ADD does is to have the alias of the node's end count. What an ADD leaves that was killed
//! before has none, and the next ADD of the attachment makes it again; one that has it is a pod's, and no ADD
//! touches it.

use super::sandboxes::Sandboxes;
use crate::error::Error;
use crate::kernel::netns::Netns;
use crate::kernel::{Link, Netlink, Observe};

/// Whether an ADD came to its end, by the node's end of the veth pair.
pub fn is_finished(node_end: &Link) -> bool {
    node_end.alias.is_some()
}

/// An attachment that is to be made, and where.
pub struct Wanted<'a> {
    /// The node's end of its veth pair.
    pub veth: &'a str,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
    /// `CNI_NETNS`, opened.
    pub netns: &'a Netns,
}

/// Refuses to make an attachment that stands finished, in this namespace or in another that lives, which no
/// lease needs to name. An ADD of what does not stand asks one question.
///
/// The pair of a pod whose namespace is gone may be seen for a moment more; it hinders no ADD.
///
/// # Errors
/// Code 102 if it stands; 103 if the kernel cannot be asked.
pub fn refuse(node: &mut dyn Observe, wanted: &Wanted<'_>) -> Result<(), Error> {
    let Some(node_end) = node.link(wanted.veth)?.filter(is_finished) else { return Ok(()) };
    let pod_end = Netlink::open_in(wanted.netns.try_clone()?)?.link(wanted.ifname)?;
    if pod_end.is_some_and(|pod_end| is_pair(&node_end, &pod_end)) || lives_elsewhere(&node_end)? {
        let (ifname, veth) = (wanted.ifname.to_owned(), wanted.veth.to_owned());
        return Err(Error::Attached { ifname, veth });
    }
    Ok(())
}

/// Whether the other end is in another namespace to which anything leads.
fn lives_elsewhere(node_end: &Link) -> Result<bool, Error> {
    Ok(node_end.peer_netns.is_some() && !Sandboxes::look()?.is_gone(node_end))
}

/// Whether two devices are the ends of one pair: each names the other's index.
fn is_pair(one: &Link, other: &Link) -> bool {
    one.peer == Some(other.dev.index) && other.peer == Some(one.dev.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::LinkKind;
    use crate::kernel::fake::Fake;

    #[test]
    fn the_ends_of_a_pair_name_each_other() {
        let mut fake = Fake::default();
        let mut end = |name: &str, peer| {
            fake.add(name, 1450, &[], LinkKind::Veth);
            Link { peer: Some(peer), ..fake.links[name].link.clone() }
        };
        let (node_end, pod_end, other) = (end("v", 2), end("eth0", 1), end("eth1", 7));
        assert!(is_pair(&node_end, &pod_end));
        assert!(!is_pair(&node_end, &other), "a pair's end of another namespace has any index");
        assert!(!is_pair(&Link { peer: None, ..node_end }, &pod_end));
    }

    #[test]
    fn what_was_killed_half_way_may_be_made_anew() {
        let mut node = Fake::default();
        node.add("v", 1450, &[], LinkKind::Veth);
        assert!(!is_finished(&node.links["v"].link));
        let own = Netns::own().unwrap();
        let wanted = Wanted { veth: "v", ifname: "eth0", netns: &own };
        refuse(&mut node, &wanted).unwrap();
        let none = Wanted { veth: "w", ..wanted };
        refuse(&mut node, &none).unwrap();
    }
}
