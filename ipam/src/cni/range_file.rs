//! Addresses from one node's ranges of a range file, in the same folders as flatnet's own leases,
//! so that both can serve one network.
//!
//! The main plugin is another here, and wants a gateway on the pods' own subnet: the first address
//! after the subnet's own (`10.244.1.1`), which is then given to no pod.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flatnet_conf::{Invocation, IpamConf, Node, Range, RangeFile, find_node};
use flatnet_ipam::{Error, Given, Holder, Key, Leases, Pod, Record, Request, Result, check_leases};
use ipnetwork::IpNetwork;
use nix::ifaddrs::getifaddrs;
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use nix::unistd::gethostname;

/// Takes one address of each family.
pub fn add(
    path: &Path,
    node: Option<&str>,
    conf: &IpamConf,
    invocation: &Invocation,
) -> Result<Vec<Given>> {
    let file = RangeFile::load(path)?;
    let node = this_node(&file, path, node)?;
    let ranges = less_gateways(node)?;
    let leases = Leases::create(&conf.state_dir, &conf.name, &node.name)?;
    let attachment = holder(invocation)?;
    let requested = &conf.requested_ips;
    let request = Request { attachment: &attachment, ranges: &ranges, requested };
    let own = own_addresses()?;
    let mut has = |address| own.contains(&address).then(|| "this machine itself".to_owned());
    // Nothing is known to be dead here; see `gc`.
    let lease = leases.allocate(&key(conf, invocation), &request, &mut |_| true, &mut has)?;
    let given = lease.addresses().iter().map(|address| given(*address, &ranges)).collect();
    lease.commit();
    Ok(given)
}

/// The addresses that the attachment holds.
pub fn leased(
    path: &Path,
    node: Option<&str>,
    conf: &IpamConf,
    invocation: &Invocation,
) -> Result<Vec<IpAddr>> {
    let file = RangeFile::load(path)?;
    let node = this_node(&file, path, node)?;
    let lease = match Leases::existing(&conf.state_dir, &conf.name, &node.name)? {
        Some(leases) => leases.get(&key(conf, invocation))?,
        None => None,
    };
    Ok(lease.map(|lease| lease.addresses).unwrap_or_default())
}

/// Whether an ADD can be expected to succeed.
pub fn look(path: &Path, node: Option<&str>, conf: &IpamConf) -> Result<()> {
    let file = RangeFile::load(path)?;
    let node = this_node(&file, path, node)?;
    less_gateways(node)?;
    check_leases(&conf.state_dir, &conf.name, &node.name)
}

/// Frees what the attachment holds, in whatever node's folder: a DEL must not need the range file.
pub fn del(conf: &IpamConf, invocation: &Invocation) -> Result<()> {
    let key = key(conf, invocation);
    let own = own_netns()?;
    let mut errors = Vec::new();
    for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
        errors.extend(leases.and_then(|leases| leases.release(&key, Some(own))).err());
    }
    Error::collect(errors)
}

/// Frees what the runtime does not know and whose pod's namespace is gone. Nothing if the runtime
/// does not say what it knows, and none of flatnet's own leases: their veths are flatnet's matter.
pub fn gc(conf: &IpamConf) -> Result<()> {
    let Some(valid) = &conf.valid_attachments else { return Ok(()) };
    let own = own_netns()?;
    let mut alive = |record: &Record| {
        let Holder { container_id, ifname, netns, sandbox, .. } = &record.attachment;
        *netns != own
            || valid.iter().any(|id| id.container_id == *container_id && id.ifname == *ifname)
            || sandbox.as_ref().is_some_and(|path| is_namespace(Path::new(path)))
    };
    let mut errors = Vec::new();
    for leases in Leases::everywhere(&conf.state_dir, &conf.name) {
        match leases.and_then(|leases| leases.collect(&mut alive)) {
            Ok(done) => errors.extend(done.errors),
            Err(error) => errors.push(error),
        }
    }
    Error::collect(errors)
}

fn this_node<'a>(file: &'a RangeFile, path: &Path, node: Option<&str>) -> Result<&'a Node> {
    let own = match node {
        Some(_) => Vec::new(),
        None => own_addresses()?,
    };
    let host = gethostname().unwrap_or_default();
    Ok(find_node(file, path, node, &own, &host.to_string_lossy())?)
}

/// As `ip address` lists them.
fn own_addresses() -> Result<Vec<IpAddr>> {
    let interfaces = getifaddrs().map_err(|errno| Error::Io {
        action: "list the addresses of this machine, set node in",
        path: PathBuf::from("ipam"),
        source: errno.into(),
    })?;
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(interfaces.filter_map(|interface| interface.address.and_then(address)).collect())
}

/// The gateway of a range's subnet.
fn gateway(range: &Range) -> Option<IpAddr> {
    range.subnet().iter().nth(1)
}

/// The node's ranges without their gateways. One that has no other address is an error.
fn less_gateways(node: &Node) -> Result<Vec<Range>> {
    let less_gateway = |range: &Range| {
        let mut exclude = range.exclude().to_vec();
        exclude.extend(gateway(range).map(IpNetwork::from));
        Range::new(range.subnet(), Some(range.start()), Some(range.end()), exclude)
    };
    Ok(node.ranges.iter().map(less_gateway).collect::<std::result::Result<_, _>>()?)
}

fn given(address: IpAddr, ranges: &[Range]) -> Given {
    let range = ranges.iter().find(|range| range.contains(address));
    let prefix = range.and_then(|range| IpNetwork::new(address, range.subnet().prefix()).ok());
    Given {
        address: prefix.unwrap_or(address.into()),
        gateway: range.and_then(gateway).unwrap_or(address),
    }
}

fn key(conf: &IpamConf, invocation: &Invocation) -> Key {
    Key::new(&conf.name, &invocation.container_id, &invocation.ifname)
}

fn holder(invocation: &Invocation) -> Result<Holder> {
    let args = &invocation.args;
    Ok(Holder {
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
        // Whatever the main plugin makes is not known here.
        veth: String::new(),
        netns: own_netns()?,
        pod: Pod {
            namespace: args.pod_namespace.clone(),
            name: args.pod_name.clone(),
            uid: args.pod_uid.clone(),
        },
        sandbox: invocation.netns.as_ref().map(|path| path.display().to_string()),
        is_shaped: false,
    })
}

/// The inode of the network namespace that this process, and so the node, is in.
fn own_netns() -> Result<u64> {
    let path = Path::new("/proc/self/ns/net");
    let failed = |source: io::Error| Error::Io { action: "look at", path: path.to_owned(), source };
    fs::metadata(path).map(|metadata| metadata.ino()).map_err(failed)
}

/// Whether a namespace is at the path, without opening it.
fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

#[cfg(test)]
mod tests;
