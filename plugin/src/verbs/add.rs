//! ADD: a pod joins the network.
//!
//! Everything is checked before anything is made; then lease, veth, node's side, pod's side. The
//! lease is on disk before the kernel knows the address. Whatever fails, what was made goes again.

use flatnet_conf::{AddResult, Interface, Invocation, IpConfig, Mac, NetworkConf, Route};
use flatnet_ipam::{Attachment as Holder, Key, Lease, Leases, Pod, Request};
use ipnetwork::IpNetwork;

use super::pod_netns;
use crate::attachment::{self, Attachment};
use crate::error::Error;
use crate::identity;
use crate::kernel::netns::Netns;
use crate::kernel::{Kernel, Netlink};
use crate::living::lives;
use crate::overlay;
use crate::stamp::Stamp;

/// Attaches the pod and returns the result, the previous plugins' first.
///
/// # Errors
/// The codes of [`Error`]; nothing of this attachment is left then.
pub fn run(conf: &NetworkConf, invocation: &Invocation) -> Result<AddResult, Error> {
    let mut node = Netlink::open()?;
    let own = node.netns().inode()?;
    let netns = pod_netns::open(invocation, own)?;
    let this = overlay::ensure(&mut node, conf, own)?;

    let key = Key::new(&conf.name, &invocation.container_id, &invocation.ifname);
    let mut veth = identity::veth(&key);
    veth.pod_mac = conf.mac.unwrap_or(veth.pod_mac);
    let lease = lease(&mut node, conf, &this, &key, &holder(invocation, &veth.name, own))?;
    let attachment = Attachment {
        group: identity::veth_group(this.vni),
        alias: alias(conf, invocation),
        ifname: &invocation.ifname,
        netns: sandbox(invocation).unwrap_or_default(),
        mtu: this.mtu,
        addresses: lease.addresses().to_vec(),
        routes: routes(conf, lease.addresses()),
        veth,
    };
    if let Err(e) = wire(&mut node, netns, &attachment) {
        roll_back(&mut node, lease, &attachment, &e);
        return Err(e);
    }
    lease.commit();
    let mut result = conf.prev_result.clone().unwrap_or_default();
    result.append(describe(conf, &attachment));
    Ok(result)
}

fn holder(invocation: &Invocation, veth: &str, netns: u64) -> Holder {
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
    }
}

/// `CNI_NETNS`, as it was given.
fn sandbox(invocation: &Invocation) -> Option<String> {
    invocation.netns.as_ref().map(|path| path.display().to_string())
}

fn lease(
    node: &mut dyn Kernel,
    conf: &NetworkConf,
    this: &Stamp,
    key: &Key,
    holder: &Holder,
) -> Result<Lease, Error> {
    let leases = Leases::create(&conf.state_dir, &conf.name, &this.node)?;
    let request =
        Request { attachment: holder, ranges: &this.ranges, requested: &conf.requested_ips };
    Ok(leases.allocate(key, &request, &mut |candidate| lives(node, candidate))?)
}

fn wire(node: &mut Netlink, netns: Netns, attachment: &Attachment<'_>) -> Result<(), Error> {
    let dev = attachment::create(node, &netns, attachment)?;
    attachment::wire_node(node, &dev, attachment)?;
    let mut pod = Netlink::open_in(netns)?;
    attachment::wire_pod(&mut pod, attachment)
}

/// Removes what a failed ADD made. The first error is the one to report; what fails here is logged
/// and left to the next ADD, DEL or GC.
fn roll_back(node: &mut dyn Kernel, lease: Lease, attachment: &Attachment<'_>, why: &Error) {
    // A foreign interface in the way means that no veth of ours was made, nor one left.
    if !matches!(why, Error::InterfaceExists { .. }) {
        if let Err(e) = node.delete_link(&attachment.veth.name) {
            log::warn!("rolling back: {e}");
        }
    }
    if let Err(e) = lease.release() {
        log::warn!("rolling back: {e}");
    }
}

/// `flatnet:<network>/<namespace>/<pod or container ID>/<ifname>`, as `ip link` prints it: what a
/// caller could have put in that a terminal would obey is left out.
fn alias(conf: &NetworkConf, invocation: &Invocation) -> String {
    let args = &invocation.args;
    let namespace = args.pod_namespace.as_deref().unwrap_or("-");
    let pod = args.pod_name.as_deref().unwrap_or(&invocation.container_id);
    let ifname = &invocation.ifname;
    // IFALIASZ is 256 with the final zero; the interface's name is worth more than a long ID's end.
    let room = 255usize.saturating_sub(ifname.len() + 1);
    let mut alias: String = format!("flatnet:{}/{namespace}/{pod}", conf.name)
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .take(room)
        .collect();
    alias.push('/');
    alias.push_str(ifname);
    alias
}

/// What the pod reaches through its gateway: as configured, or everything.
fn routes(conf: &NetworkConf, addresses: &[std::net::IpAddr]) -> Vec<IpNetwork> {
    conf.routes.clone().unwrap_or_else(|| {
        let everything = |ipv4| if ipv4 { [0; 4].into() } else { [0u8; 16].into() };
        addresses
            .iter()
            .filter_map(|address| IpNetwork::new(everything(address.is_ipv4()), 0).ok())
            .collect()
    })
}

/// The attachment in the words of the specification's result (CNI 1.1.0, section 5).
fn describe(conf: &NetworkConf, attachment: &Attachment<'_>) -> AddResult {
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
                gateway: Some(attachment::gateway(address.is_ipv4())),
            })
            .collect(),
        routes: attachment
            .routes
            .iter()
            .filter(|dst| has(dst.is_ipv4()))
            .map(|dst| Route::new(*dst, Some(attachment::gateway(dst.is_ipv4()))))
            .collect(),
        dns: conf.dns.clone(),
    }
}
