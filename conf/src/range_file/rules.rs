//! The rules of the range file, in the order in which they are checked: each field by itself,
//! then each node against those before it, then all ranges against one another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::{Node, RangeFile};
use crate::address::{canonical, family, parse_address, parse_canonical, special_use};
use crate::error::Broken;
use crate::name::node_name_problem;
use crate::span::Spans;
use crate::{Error, Mac, Range, json, raw, vtep_mac};

const DEFAULT_VNI: u64 = 4096;
/// IANA's port for VXLAN; the kernel's own default is another, for historical reasons.
const DEFAULT_PORT: u64 = 4789;

impl RangeFile {
    /// Reads and validates a range file; `origin` is its path, for messages.
    pub fn parse(origin: &Path, bytes: &[u8]) -> Result<RangeFile, Error> {
        let origin = origin.display().to_string();
        let raw: json::Object<raw::RangeFile<'_>> = json::from_bytes(&origin, bytes)?;
        apply(&raw.0).map_err(|broken| broken.in_document(origin))
    }

    /// Looks whether it keeps every rule, as one that was read does: for who makes one otherwise and writes it. It is
    /// the same as to read its text, at a fraction of the cost; `origin` is where it is to be, for messages.
    ///
    /// # Errors
    /// Code 7, with the rule that it breaks.
    pub fn check(&self, origin: &Path) -> Result<(), Error> {
        check(self).map_err(|broken| broken.in_document(origin.display().to_string()))
    }
}

/// The rules, of a file that is there already.
fn check(file: &RangeFile) -> Result<(), Broken> {
    let vni = vni(Some(file.vni.into()))?;
    port(Some(file.port.into()))?;
    list_networks(&file.cluster_cidrs, |network| canonical(*network))?;
    are_some(&file.nodes)?;
    let mut others = Others::of(vni, file.nodes.len());
    for (index, node) in file.nodes.iter().enumerate() {
        let own = || {
            name(&node.name)?;
            usable(node.vtep).map_err(|problem| Broken::new(problem).under("vtep"))?;
            has_ranges(&node.ranges)
        };
        let at = |broken: Broken| broken.under(format_args!("nodes[{index}]"));
        own().and_then(|()| others.add(index, &node.name, node.vtep)).map_err(at)?;
    }
    ranges_are_apart(file)?;
    cluster_holds_ranges_only(file)
}

/// Turns what the file says into what it means, or names the first rule that it breaks.
fn apply(raw: &raw::RangeFile<'_>) -> Result<RangeFile, Broken> {
    if raw.version != 1 {
        let problem = format!("{} is not supported; this flatnet reads version 1", raw.version);
        return Err(Broken::new(problem).under("version"));
    }
    let (vni, port) = (vni(raw.vni)?, port(raw.port)?);
    let declared = raw.cluster_cidrs.as_deref().map(cluster_cidrs).transpose()?;
    let nodes = nodes(vni, &raw.nodes)?;
    let direct_routing = raw.direct_routing.unwrap_or(false);
    let mut file = RangeFile { vni, port, cluster_cidrs: Vec::new(), direct_routing, nodes };
    ranges_are_apart(&file)?;
    file.cluster_cidrs = match declared {
        Some(declared) => declared,
        None => file.subnets().collect(),
    };
    cluster_holds_ranges_only(&file)?;
    Ok(file)
}

/// A VXLAN network identifier.
pub(crate) fn vni(value: Option<u64>) -> Result<u32, Broken> {
    number(value, DEFAULT_VNI, (1, 0x00ff_ffff), "vni")
}

/// A UDP port of an overlay.
pub(crate) fn port(value: Option<u64>) -> Result<u16, Broken> {
    number(value, DEFAULT_PORT, (1, u16::MAX), "port")
}

/// A number between two others, or the default.
pub(crate) fn number<T>(
    value: Option<u64>,
    default: u64,
    (min, max): (u64, T),
    field: &str,
) -> Result<T, Broken>
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    let value = value.unwrap_or(default);
    let max = max.into();
    let number = T::try_from(value).ok().filter(|_| (min..=max).contains(&value));
    number.ok_or_else(|| {
        Broken::new(format!("{value} is out of range; use {min} to {max}")).under(field)
    })
}

/// Networks that hold all pods' addresses, in the order in which they are listed.
pub(crate) fn cluster_cidrs(texts: &[String]) -> Result<Vec<IpNetwork>, Broken> {
    list_networks(texts, |text| parse_canonical(text))
}

fn list_networks<T>(
    list: &[T],
    read: impl Fn(&T) -> Result<IpNetwork, String>,
) -> Result<Vec<IpNetwork>, Broken> {
    if list.is_empty() {
        let problem = "is empty; list the pod network, or leave it out to take all ranges";
        return Err(Broken::new(problem).under("clusterCIDRs"));
    }
    let mut networks = Vec::with_capacity(list.len());
    for (index, listed) in list.iter().enumerate() {
        let network = read(listed).and_then(|network| match special_use(network) {
            Some(special) => Err(format!("\"{network}\" overlaps the {special}")),
            None => Ok(network),
        });
        networks.push(network.map_err(|problem| {
            Broken::new(problem).under(format_args!("clusterCIDRs[{index}]"))
        })?);
    }
    let spans = Spans::new(networks.iter().copied().zip(0usize..));
    if let Some([(first, i), (second, j)]) = spans.overlap() {
        let problem = format!("\"{second}\" overlaps clusterCIDRs[{i}], \"{first}\"");
        return Err(Broken::new(problem).under(format_args!("clusterCIDRs[{j}]")));
    }
    Ok(networks)
}

fn nodes(vni: u32, raw: &[raw::Node<'_>]) -> Result<Vec<Node>, Broken> {
    are_some(raw)?;
    let mut others = Others::of(vni, raw.len());
    let mut nodes: Vec<Node> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let at = |broken: Broken| broken.under(format_args!("nodes[{index}]"));
        let node = node(raw).map_err(at)?;
        others.add(index, &raw.name, node.vtep).map_err(at)?;
        nodes.push(node);
    }
    Ok(nodes)
}

/// A node's name and VTEP against those of the nodes before it.
struct Others<'a> {
    vni: u32,
    names: HashMap<&'a str, usize>,
    /// By the MACs on the overlay, which are the VTEPs', but shorter.
    vteps: HashMap<Mac, (usize, IpAddr)>,
    /// The VTEP of the first.
    first: Option<IpAddr>,
}

impl<'a> Others<'a> {
    /// None yet, and so many to come.
    fn of(vni: u32, count: usize) -> Self {
        let (names, vteps) = (HashMap::with_capacity(count), HashMap::with_capacity(count));
        Self { vni, names, vteps, first: None }
    }

    fn add(&mut self, index: usize, name: &'a str, vtep: IpAddr) -> Result<(), Broken> {
        if let Some(other) = self.names.insert(name, index) {
            let problem = format!("{name:?} is also nodes[{other}].name; names are unique");
            return Err(Broken::new(problem).under("name"));
        }
        let mac = vtep_mac(self.vni, vtep);
        if let Some((other, taken)) = self.vteps.insert(mac, (index, vtep)) {
            let problem = match taken == vtep {
                true => format!("\"{vtep}\" is also nodes[{other}].vtep; VTEPs are unique"),
                // The forwarding database has one VTEP for each MAC.
                false => format!(
                    "\"{vtep}\" has the MAC {mac} on the overlay, as nodes[{other}].vtep has, \"{taken}\": it is \
                     computed from vni and vtep; give one of the two nodes another vtep, or choose another vni"
                ),
            };
            return Err(Broken::new(problem).under("vtep"));
        }
        let first = *self.first.get_or_insert(vtep);
        if family(first) != family(vtep) {
            let problem = format!(
                "\"{vtep}\" is {}, nodes[0].vtep is {}; all VTEPs are of one family",
                family(vtep),
                family(first)
            );
            return Err(Broken::new(problem).under("vtep"));
        }
        Ok(())
    }
}

fn are_some<T>(nodes: &[T]) -> Result<(), Broken> {
    match nodes.is_empty() {
        true => Err(Broken::new("is empty; list at least one node").under("nodes")),
        false => Ok(()),
    }
}

fn name(name: &str) -> Result<(), Broken> {
    match node_name_problem(name) {
        Some(problem) => Err(Broken::new(format!("{name:?} {problem}")).under("name")),
        None => Ok(()),
    }
}

fn has_ranges<T>(ranges: &[T]) -> Result<(), Broken> {
    match ranges.is_empty() {
        true => Err(Broken::new("is empty; give the node at least one range").under("ranges")),
        false => Ok(()),
    }
}

fn node(raw: &raw::Node<'_>) -> Result<Node, Broken> {
    name(&raw.name)?;
    let vtep = vtep(&raw.vtep).map_err(|problem| Broken::new(problem).under("vtep"))?;
    has_ranges(&raw.ranges)?;
    let ranges = raw.ranges.iter().enumerate().map(|(index, range)| {
        Range::from_raw(range).map_err(|broken| broken.under(format_args!("ranges[{index}]")))
    });
    Ok(Node {
        name: raw.name.clone().into_owned(),
        vtep,
        ranges: ranges.collect::<Result<_, _>>()?,
    })
}

/// Reads a node's address on the underlay; else what is wrong with it.
pub fn vtep(text: &str) -> Result<IpAddr, String> {
    let address = parse_address(text)?;
    not_special(address).map(|()| address)
}

/// The same of one that was read otherwise.
fn usable(address: IpAddr) -> Result<(), String> {
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => vtep(&six.to_string()).map(drop),
        address => not_special(address),
    }
}

fn not_special(vtep: IpAddr) -> Result<(), String> {
    match special_use(vtep.into()) {
        Some(special) => Err(format!(
            "\"{vtep}\" is among the {special}; use the node's address on the underlay"
        )),
        None => Ok(()),
    }
}

fn ranges_are_apart(file: &RangeFile) -> Result<(), Broken> {
    let tagged = file.nodes.iter().enumerate().flat_map(|(i, node)| {
        node.ranges.iter().enumerate().map(move |(j, range)| (range.subnet(), (i, j)))
    });
    match Spans::new(tagged).overlap() {
        Some([(first, (i, j)), (second, (k, l))]) => {
            let problem = format!("\"{second}\" overlaps nodes[{i}].ranges[{j}], \"{first}\"");
            Err(Broken::new(problem).under(format_args!("nodes[{k}].ranges[{l}]")))
        }
        None => Ok(()),
    }
}

/// Ranges lie in the pod network, VTEPs do not: the overlay would route its own packets into
/// itself.
fn cluster_holds_ranges_only(file: &RangeFile) -> Result<(), Broken> {
    let cluster = Spans::new(file.cluster_cidrs.iter().map(|network| (*network, ())));
    for (i, node) in file.nodes.iter().enumerate() {
        if let Some(network) = cluster.covering(node.vtep.into()) {
            let problem = format!(
                "\"{}\" is inside the pod network {network}; use an address of the underlay",
                node.vtep
            );
            return Err(Broken::new(problem).under(format_args!("nodes[{i}].vtep")));
        }
        for (j, range) in node.ranges.iter().enumerate() {
            if cluster.covering(range.subnet()).is_none() {
                let problem = format!("\"{}\" is not inside any of clusterCIDRs", range.subnet());
                return Err(Broken::new(problem).under(format_args!("nodes[{i}].ranges[{j}]")));
            }
        }
    }
    Ok(())
}
