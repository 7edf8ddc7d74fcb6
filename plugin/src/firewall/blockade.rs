//! What keeps pods apart although all of flatnet's is right: another program's packet filter that
//! drops what is forwarded, by policy as Docker sets it, or by a rule as firewalld does. An accept of ours
//! cannot override another table's drop, so all that can be done is to say which chain it is and what allows
//! our traffic.

#[path = "blockade/walk.rs"]
mod walk;

use std::fmt;

use flatnet_conf::RangeFile;
use ipnetwork::IpNetwork;

use crate::identity::{overlay_group, overlay_name, veth_group};
use crate::kernel::{ChainFamily, ForwardChain, Keeper, KernelError, NamePattern, Observe};
pub use walk::{Device, Way};
use walk::{Fate, Place, fate};

/// A chain that drops packets, or of which that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockade {
    /// Which one, as in `chain FORWARD of table ip filter (nftables)`.
    pub chain: String,
    /// What of it, and which rule that is.
    pub fault: Fault,
    /// The only family, of several that were looked at, that this is so of, as in `IPv6 `.
    only: &'static str,
    /// The commands that let the network's packets through, for a shell.
    pub commands: Vec<String>,
}

/// What a chain does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// By its policy it drops what no rule accepts, and none accepts all between pods.
    Policy,
    /// What no rule accepts ends at this one.
    Rule(String),
    /// Some end at this one.
    Some(String),
    /// This one decides, and is not understood.
    Unknown(String),
}

impl Blockade {
    /// Whether packets between pods are dropped for certain, and not only some of a kind.
    pub fn is_certain(&self) -> bool {
        matches!(self.fault, Fault::Policy | Fault::Rule(_))
    }

    /// What the chain does with these packets, in words.
    pub fn does_with(&self, packets: &str) -> String {
        let (chain, packets) = (&self.chain, format!("{}{packets}", self.only));
        match &self.fault {
            Fault::Policy => {
                format!("{chain} has policy drop, and no rule of it accepts {packets}")
            }
            Fault::Rule(rule) => format!("{chain} drops {packets} by {rule}"),
            Fault::Some(rule) => format!("{chain} drops some {packets} by {rule}"),
            Fault::Unknown(rule) => format!(
                "whether {chain} drops {packets} is not known: flatnet does not understand {rule}"
            ),
        }
    }

    /// The same of what is between pods.
    pub fn what(&self) -> String {
        self.does_with("packets between pods")
    }
}

impl fmt::Display for Blockade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, commands) = (self.what(), self.commands.join("; "));
        write!(f, "{what}: pods cannot reach each other; allow them with: {commands}")
    }
}

/// Looks for what keeps the pods of a network apart on this node.
///
/// # Errors
/// A packet filter cannot be read.
pub fn look(kernel: &mut dyn Observe, file: &RangeFile) -> Result<Vec<Blockade>, KernelError> {
    let chains = kernel.forward_chains()?;
    // On most nodes there is none, and nothing to compare.
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    Ok(blockades(&chains, file, &ways(file.vni, &file.cluster_cidrs)))
}

/// Looks for what ends packets of these ways.
///
/// # Errors
/// A packet filter cannot be read.
pub fn look_at(
    kernel: &mut dyn Observe,
    file: &RangeFile,
    ways: &[Way],
) -> Result<Vec<Blockade>, KernelError> {
    Ok(blockades(&kernel.forward_chains()?, file, ways))
}

/// Says in the log which chains drop packets for certain. Not finding out is no reason for an ADD to fail.
pub fn warn(kernel: &mut dyn Observe, file: &RangeFile) {
    match look(kernel, file) {
        Ok(blockades) => {
            let certain = blockades.iter().filter(|blockade| blockade.is_certain());
            certain.for_each(|blockade| log::warn!("{blockade}"));
        }
        Err(e) => log::warn!("cannot tell whether a packet filter keeps pods apart: {e}"),
    }
}

/// The chains that drop packets of these ways, or may.
fn blockades(chains: &[ForwardChain], file: &RangeFile, ways: &[Way]) -> Vec<Blockade> {
    let told = |chain| {
        let seen: Vec<&Way> = ways.iter().filter(|way| chain_sees(chain, way)).collect();
        let fates: Vec<Fate<'_>> = seen.iter().map(|way| fate(chain, way)).collect();
        let worst = fates.iter().max_by_key(|fate| fate.weight())?;
        let fault = match worst {
            Fate::Pass => return None,
            Fate::Dropped(None) => Fault::Policy,
            Fate::Dropped(Some(place)) => Fault::Rule(spelled(place)),
            Fate::SomeDropped(place) => Fault::Some(spelled(place)),
            Fate::Unknown(place) => Fault::Unknown(spelled(place)),
        };
        let passes = |ipv4| {
            let mut all = seen.iter().zip(&fates).filter(|(way, _)| way.source.is_ipv4() == ipv4);
            let some = all.clone().next().is_some();
            some && all.all(|(_, fate)| *fate == Fate::Pass)
        };
        let only = match (passes(true), passes(false)) {
            (true, _) => "IPv6 ",
            (_, true) => "IPv4 ",
            _ => "",
        };
        Some(Blockade { chain: name(chain), fault, only, commands: commands(chain, file) })
    };
    chains.iter().filter_map(told).collect()
}

fn chain_sees(chain: &ForwardChain, way: &Way) -> bool {
    chain.family.sees(way.source.is_ipv4())
}

/// The rule, by its number and what it says, and the chains that lead there.
fn spelled(Place { rule, by }: &Place<'_>) -> String {
    let number = rule.number;
    match by[..] {
        [] => format!("its rule {number}, `{rule}`"),
        [only] => format!("rule {number} of its chain {only}, `{rule}`"),
        [.., last] => {
            format!(
                "rule {number} of its chain {last}, `{rule}` (the way there: {})",
                by.join(" > ")
            )
        }
    }
}

/// The ways by which a packet from pod to pod crosses a node, from device to device: within each of the
/// ranges that pods have addresses of, and between each and the first of its family. Not for every pair:
/// where the file has no `clusterCIDRs` there may be ten thousand ranges.
fn ways(vni: u32, cidrs: &[IpNetwork]) -> Vec<Way> {
    let pod = Device { name: NamePattern::Beginning("veth".into()), group: veth_group(vni) };
    let overlay =
        Device { name: NamePattern::Exactly(overlay_name(vni)), group: overlay_group(vni) };
    let devices = [(&pod, &pod), (&pod, &overlay), (&overlay, &pod)];
    let pairs = cidrs.iter().flat_map(|cidr| {
        let first = cidrs.iter().find(|first| first.is_ipv4() == cidr.is_ipv4()).unwrap_or(cidr);
        let others = (first != cidr).then_some([(first, cidr), (cidr, first)]);
        [(cidr, cidr)].into_iter().chain(others.into_iter().flatten())
    });
    let ways = pairs.flat_map(|(source, destination)| {
        devices.map(|(input, output)| Way {
            input: input.clone(),
            output: output.clone(),
            source: *source,
            destination: *destination,
        })
    });
    ways.collect()
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
fn commands(chain: &ForwardChain, file: &RangeFile) -> Vec<String> {
    let group = veth_group(file.vni);
    let iptables = |program: &str| {
        let table = match &chain.table[..] {
            "filter" => String::new(),
            table => format!(" -t {table}"),
        };
        ["src", "dst"].map(|end| {
            format!("{program}{table} -I FORWARD -m devgroup --{end}-group {group:#x} -j ACCEPT")
        })
    };
    let of_iptables =
        ["filter", "mangle", "security"].contains(&&chain.table[..]) && chain.name == "FORWARD";
    let commands = match (chain.keeper, chain.family) {
        (Keeper::Legacy, ChainFamily::V6) => iptables("ip6tables-legacy"),
        (Keeper::Legacy, _) => iptables("iptables-legacy"),
        (Keeper::Nft, ChainFamily::V4) if of_iptables => iptables("iptables-nft"),
        (Keeper::Nft, ChainFamily::V6) if of_iptables => iptables("ip6tables-nft"),
        // Others' rules in its table are gone when it reloads, or are refused.
        (Keeper::Nft, _) if chain.table == "firewalld" => return firewalld(&file.cluster_cidrs),
        (Keeper::Nft, family) => ["iifgroup", "oifgroup"].map(|end| {
            let (family, table, name) = (nft_family(family), &chain.table, &chain.name);
            format!("nft insert rule {family} {table} {name} {end} {group:#x} accept")
        }),
    };
    commands.into()
}

/// The pods' ranges as sources that firewalld trusts.
fn firewalld(cidrs: &[IpNetwork]) -> Vec<String> {
    let trust = |cidr| format!("firewall-cmd --permanent --zone=trusted --add-source={cidr}");
    cidrs.iter().map(trust).chain(["firewall-cmd --reload".into()]).collect()
}

#[cfg(test)]
mod tests;
