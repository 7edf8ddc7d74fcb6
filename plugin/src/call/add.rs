//! ADD: a pod joins the network.
//!
//! Everything is checked before anything is made; then lease, veth, node's side, pod's side. The
//! lease is on disk before the kernel knows the address. Whatever fails, what was made goes again.

use flatnet_conf::{
    AddResult, Code, Dns, Interface, Invocation, IpConfig, Mac, NetworkConf, Route,
};
use flatnet_ipam::{Holder, Key, Leases, Pod};
use ipnetwork::IpNetwork;

use super::pod_netns;
use super::request::Call;
use crate::attachment::ends::{self, Attachment};
use crate::attachment::finished::{self, Wanted};
use crate::attachment::grant::Grant;
use crate::attachment::ready;
use crate::error::Error;
use crate::identity;
use crate::kernel::netns::Netns;
use crate::kernel::{Kernel, Netlink, VethPair};
use crate::overlay::fast_path;
use crate::overlay::gateway::gateway;
use crate::overlay::network_lock::NetworkLock;
use crate::overlay::stamp::Stamp;

/// Attaches the pod and returns the result, the previous plugins' first.
///
/// # Errors
/// The codes of [`Error`]; nothing of this attachment is left then.
pub fn run(call: &Call) -> Result<AddResult, Error> {
    let Call { conf, invocation, .. } = call;
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let netns = pod_netns::open(invocation, own)?;
    let delegate = call.delegate()?;
    let key = Key::new(&conf.name, &invocation.container_id, &invocation.ifname);
    let mut veth = identity::veth(&key);
    let wanted = Wanted { veth: &veth.name, ifname: &invocation.ifname, netns: &netns };
    finished::refuse(&mut node, &wanted)?;
    // From here on no `remove` takes the network off the node.
    let lock = NetworkLock::enter(conf, own)?;
    let this = ready::ensure(&mut node, conf, own)?;

    veth.pod_mac = conf.mac.unwrap_or(veth.pod_mac);
    let holder = holder(invocation, &veth.name, own, conf.is_shaped);
    let grant = match delegate {
        Some(delegate) => {
            // No lease of ours keeps apart who attaches and who detaches the same.
            lock.hold(&key)?;
            finished::refuse(&mut node, &wanted)?;
            Grant::delegate(delegate, conf, &this)?
        }
        None => match Grant::lease(&mut node, conf, &this, &key, &holder) {
            Ok(grant) => grant,
            Err(e) => {
                drop_unleased(&mut node, conf, &this, &key, &e);
                return Err(e);
            }
        },
    };
    let veth_name = veth.name.clone();
    let sandbox = sandbox(invocation).unwrap_or_default();
    let made = ready::hold(&mut node, conf, own, this).and_then(|(this, _lock)| {
        grant.fits(&this)?;
        let fast_path = match conf.is_shaped {
            true => None,
            false => fast_path::of(node.observing(), conf, this.vni, this.programs),
        };
        let attachment = Attachment {
            fast_path,
            group: identity::veth_group(this.vni),
            alias: ends::alias(&conf.name, &holder),
            ifname: &invocation.ifname,
            netns: sandbox,
            mtu: this.mtu,
            // As configured, else as a delegate says.
            routes: ends::routes(
                conf.routes.as_deref().or(grant.routes.as_deref()),
                &grant.addresses,
            ),
            addresses: grant.addresses.clone(),
            veth,
        };
        wire(&mut node, netns, &attachment)?;
        Ok(attachment)
    });
    let attachment = match made {
        Ok(attachment) => attachment,
        Err(e) => {
            // A pod lives there, and not by this ADD.
            if !matches!(e, Error::Attached { .. }) && unwire(&mut node, &veth_name, &e) {
                grant.give_back();
            } else {
                // The kernel has the addresses: the lease stays with them until DEL or GC.
                grant.commit();
            }
            return Err(e);
        }
    };
    let dns = if conf.dns.is_empty() { grant.dns.clone() } else { conf.dns.clone() };
    grant.commit();
    let mut result = conf.prev_result.clone().unwrap_or_default();
    result.append(describe(&attachment, dns));
    Ok(result)
}

fn holder(invocation: &Invocation, veth: &str, netns: u64, is_shaped: bool) -> Holder {
    let args = &invocation.args;
    Holder {
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
        veth: veth.to_owned(),
        netns,
        pod: Pod {
            namespace: args.pod_namespace.clone(),
            name: args.pod_name.clone(),
            uid: args.pod_uid.clone(),
        },
        sandbox: sandbox(invocation),
        is_shaped,
    }
}

/// `CNI_NETNS`, as it was given.
fn sandbox(invocation: &Invocation) -> Option<String> {
    invocation.netns.as_ref().map(|path| path.display().to_string())
}

fn wire(node: &mut Netlink, netns: Netns, attachment: &Attachment<'_>) -> Result<(), Error> {
    let VethPair { dev, peer } = ends::create(node, &netns, attachment)?;
    ends::wire_node(node, &dev, attachment)?;
    let mut pod = Netlink::open_in(netns)?;
    ends::wire_pod(&mut pod, &peer, attachment)?;
    ends::finish(node, &dev, attachment)
}

/// A repeated ADD that could not write its new lease may have lost the earlier one: then the veth of
/// the earlier ADD goes too: its addresses must not be given to another pod while it stands.
fn drop_unleased(node: &mut dyn Kernel, conf: &NetworkConf, this: &Stamp, key: &Key, why: &Error) {
    if why.code() != Code::Io as u32 {
        return;
    }
    let lease = Leases::existing(&conf.state_dir, &conf.name, &this.node)
        .and_then(|leases| leases.map_or(Ok(None), |leases| leases.get(key)));
    if matches!(lease, Ok(None)) {
        if let Err(e) = node.delete_link(&identity::veth_name(key)) {
            log::warn!("rolling back: {e}");
        }
    }
}

/// Removes what a failed ADD made. What fails here is logged, because the first error is the one to
/// report, and left to the next ADD, DEL or GC. Says whether nothing of it is left.
fn unwire(node: &mut dyn Kernel, veth: &str, why: &Error) -> bool {
    // A foreign interface in the way means that no veth of ours was made, nor one left.
    if matches!(why, Error::InterfaceExists { .. }) {
        return true;
    }
    let gone = node.delete_link(veth);
    if let Err(e) = &gone {
        log::warn!("rolling back: {e}");
    }
    gone.is_ok()
}

/// The attachment in the words of the specification's result (CNI 1.1.0, section 5).
fn describe(attachment: &Attachment<'_>, dns: Dns) -> AddResult {
    let interface = |name: &str, mac: Mac, sandbox| Interface {
        name: name.to_owned(),
        mac: mac.to_string(),
        mtu: Some(attachment.mtu),
        sandbox,
        ..Interface::default()
    };
    let has = |ipv4| attachment.addresses.iter().any(|address| address.is_ipv4() == ipv4);
    AddResult {
        interfaces: vec![
            interface(&attachment.veth.name, attachment.veth.node_mac, None),
            interface(attachment.ifname, attachment.veth.pod_mac, Some(attachment.netns.clone())),
        ],
        ips: attachment
            .addresses
            .iter()
            .map(|address| IpConfig {
                interface: Some(1),
                address: IpNetwork::from(*address),
                gateway: Some(gateway(address.is_ipv4())),
            })
            .collect(),
        routes: attachment
            .routes
            .iter()
            .filter(|dst| has(dst.is_ipv4()))
            .map(|dst| Route::new(*dst, Some(gateway(dst.is_ipv4()))))
            .collect(),
        dns,
    }
}
