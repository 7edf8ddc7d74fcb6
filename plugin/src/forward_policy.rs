//! What keeps pods apart although all of flatnet's is right: another program's packet filter that
//! drops by policy what is forwarded, as Docker sets it. An accept of ours cannot override another
//! table's drop, so all that can be done is to say which chain it is and what allows our traffic.

use std::fmt;

use flatnet_conf::RangeFile;
use ipnetwork::IpNetwork;

use crate::identity::{overlay_group, overlay_name, veth_group};
use crate::kernel::{Accept, ChainFamily, ForwardChain, Keeper, Kernel, KernelError, NamePattern};

/// A chain that drops packets between pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockade {
    /// Which one, as in `chain FORWARD of table ip filter (nftables)`.
    pub chain: String,
    /// The commands that let the network's packets through, for a shell.
    pub commands: Vec<String>,
}

impl fmt::Display for Blockade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, commands } = self;
        write!(
            f,
            "{chain} has policy drop, and no rule of it that flatnet understands accepts packets \
             between pods: unless another of its rules does, pods cannot reach each other; allow \
             them with: {}",
            commands.join("; ")
        )
    }
}

/// Looks for what keeps the pods of a network apart on this node.
///
/// # Errors
/// A packet filter cannot be read.
pub fn look(kernel: &mut dyn Kernel, file: &RangeFile) -> Result<Vec<Blockade>, KernelError> {
    Ok(blockades(&kernel.forward_drops()?, file.vni, &file.cluster_cidrs))
}

/// Says in the log what [`look`] found. Not finding out is no reason for an ADD to fail.
pub fn warn(kernel: &mut dyn Kernel, file: &RangeFile) {
    match look(kernel, file) {
        Ok(blockades) => blockades.iter().for_each(|blockade| log::warn!("{blockade}")),
        Err(e) => log::warn!("cannot tell whether a packet filter keeps pods apart: {e}"),
    }
}

/// The chains that drop packets between pods of the network.
fn blockades(chains: &[ForwardChain], vni: u32, cidrs: &[IpNetwork]) -> Vec<Blockade> {
    let keeps_apart = |chain: &&ForwardChain| {
        let mut seen = cidrs.iter().filter(|cidr| chain.family.sees(cidr.is_ipv4()));
        seen.any(|cidr| !ways(vni).iter().all(|way| passes(chain, way, cidr)))
    };
    let told = |chain| Blockade { chain: name(chain), commands: commands(chain, vni) };
    chains.iter().filter(keeps_apart).map(told).collect()
}

/// A device as a rule sees it: its name, or what all names of its kind begin with, and its group.
#[derive(Clone)]
struct Device {
    name: NamePattern,
    group: u32,
}

/// The ways by which a packet from pod to pod crosses a node, from device to device.
fn ways(vni: u32) -> [(Device, Device); 3] {
    let pod = Device { name: NamePattern::Beginning("veth".into()), group: veth_group(vni) };
    let overlay =
        Device { name: NamePattern::Exactly(overlay_name(vni)), group: overlay_group(vni) };
    [(pod.clone(), pod.clone()), (pod.clone(), overlay.clone()), (overlay, pod)]
}

/// Whether a rule of the chain accepts all packets that go one way within a network.
fn passes(chain: &ForwardChain, (from, to): &(Device, Device), cidr: &IpNetwork) -> bool {
    let group =
        |asked: Option<u32>, device: &Device| asked.is_none_or(|asked| asked == device.group);
    let within = |asked: Option<IpNetwork>| asked.is_none_or(|asked| contains(&asked, cidr));
    chain.accepts.iter().any(|accept: &Accept| {
        named(accept.input.as_ref(), from)
            && named(accept.output.as_ref(), to)
            && group(accept.input_group, from)
            && group(accept.output_group, to)
            && within(accept.source)
            && within(accept.destination)
    })
}

/// Whether a pattern fits every device of a kind.
fn named(asked: Option<&NamePattern>, device: &Device) -> bool {
    match (asked, &device.name) {
        (None, _) => true,
        (Some(NamePattern::Exactly(asked)), NamePattern::Exactly(name)) => asked == name,
        (Some(NamePattern::Exactly(_)), NamePattern::Beginning(_)) => false,
        (
            Some(NamePattern::Beginning(asked)),
            NamePattern::Exactly(name) | NamePattern::Beginning(name),
        ) => name.starts_with(asked),
    }
}

fn contains(outer: &IpNetwork, inner: &IpNetwork) -> bool {
    outer.is_ipv4() == inner.is_ipv4()
        && outer.prefix() <= inner.prefix()
        && outer.contains(inner.network())
}

/// The chain in words.
fn name(chain: &ForwardChain) -> String {
    let family = nft_family(chain.family);
    let keeper = match chain.keeper {
        Keeper::Nft => "nftables",
        Keeper::Legacy => "legacy iptables",
    };
    format!("chain {} of table {family} {} ({keeper})", chain.name, chain.table)
}

fn nft_family(family: ChainFamily) -> &'static str {
    match family {
        ChainFamily::V4 => "ip",
        ChainFamily::V6 => "ip6",
        ChainFamily::Both => "inet",
    }
}

/// What lets through everything that comes from a pod or goes to one. All of a network's veths are
/// in one device group, whatever their names and addresses, and no device of others is.
fn commands(chain: &ForwardChain, vni: u32) -> Vec<String> {
    let group = veth_group(vni);
    let iptables = |program: &str| {
        ["src", "dst"].map(|end| {
            format!("{program} -I FORWARD -m devgroup --{end}-group {group:#x} -j ACCEPT")
        })
    };
    let of_iptables = chain.table == "filter" && chain.name == "FORWARD";
    let commands = match (chain.keeper, chain.family) {
        (Keeper::Legacy, ChainFamily::V6) => iptables("ip6tables-legacy"),
        (Keeper::Legacy, _) => iptables("iptables-legacy"),
        (Keeper::Nft, ChainFamily::V4) if of_iptables => iptables("iptables-nft"),
        (Keeper::Nft, ChainFamily::V6) if of_iptables => iptables("ip6tables-nft"),
        (Keeper::Nft, family) => ["iifgroup", "oifgroup"].map(|end| {
            let (family, table, name) = (nft_family(family), &chain.table, &chain.name);
            format!("nft insert rule {family} {table} {name} {end} {group:#x} accept")
        }),
    };
    commands.into()
}

#[cfg(test)]
#[path = "forward_policy_tests.rs"]
mod tests;
