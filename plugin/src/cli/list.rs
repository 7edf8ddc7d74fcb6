//! `flatnet list`: the attachments of this node, and whether each is whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use flatnet_conf::NetworkConf;
use flatnet_ipam::{Holder, Record};
use serde_json::{Value, json};

use super::error::CommandError;
use super::look::Look;
use super::networks::Networks;
use super::output::{Answer, Outcome, columns, complain};
use super::pod_name::pod_name;
use super::table::{Align, Table};
use crate::attachment::dockers::name_in_pod;
use crate::attachment::outside::{self, Outside};
use crate::attachment::unleased::is_unleased;
use crate::identity::key;
use crate::kernel::netns::Netns;
use crate::kernel::{Link, Netlink, Observe as _};
use crate::upkeep::sync::SyncReport;

/// The attachments of this node: pod, addresses, veth, age, and whether each is whole
///
/// An attachment is known by its lease. Where another IPAM plugin has that, only the node's end is
/// looked at, and the age is not known.
#[derive(Args)]
pub struct Command {
    #[command(flatten)]
    networks: Networks,
    /// A JSON document for scripts
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Lists; exit code 1 if an attachment is not whole.
    pub fn run(self) -> Result<Answer, CommandError> {
        let (networks, mut outcome) = self.networks.usable()?;
        let mut rows = Vec::new();
        for conf in &networks {
            match rows_of(conf) {
                Ok((found, problems)) => {
                    problems.iter().for_each(|problem| complain(problem));
                    let fine = problems.is_empty() && found.iter().all(|row| row.state.is_fine());
                    outcome = outcome.max(if fine { Outcome::Fine } else { Outcome::Finding });
                    rows.extend(found);
                }
                Err(error) => {
                    outcome = Outcome::Failed;
                    complain(&format!("network {}: {error}", conf.name));
                }
            }
        }
        match self.json {
            true => {
                let documents: Vec<_> = rows.iter().map(Row::json).collect();
                Ok(Answer::json(&json!({ "attachments": documents }), outcome))
            }
            false => Ok(Answer { text: table(&rows).render(columns()), outcome }),
        }
    }
}

/// One attachment.
struct Row {
    network: String,
    lease: Record,
    age: Option<Duration>,
    state: State,
}

/// What is left of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// All of it.
    Whole,
    /// What `flatnet sync` puts right: so many changes.
    Drifted(usize),
    /// Whole, but no other node sends here what is meant for it: the addresses and why.
    CutOff(String),
    /// Whole, but nothing on disk tells of it; `flatnet sync` puts that right.
    Unleased,
    /// What only the next ADD, DEL or GC clears away: the reason.
    Lost(&'static str),
    /// It is not this node's to judge: the reason.
    Unknown(&'static str),
}

impl State {
    fn is_fine(&self) -> bool {
        matches!(self, Self::Whole | Self::Unknown(_))
    }

    fn words(&self) -> String {
        match self {
            Self::Whole => "whole".into(),
            Self::Drifted(1) => "drifted: 1 change to make".into(),
            Self::Drifted(changes) => format!("drifted: {changes} changes to make"),
            Self::CutOff(why) => format!("cut off: {why}"),
            Self::Unleased => "drifted: it has no lease".into(),
            Self::Lost(why) => format!("lost: {why}"),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }
}

/// The attachments of a network, and what could not be read.
fn rows_of(conf: &NetworkConf) -> Result<(Vec<Row>, Vec<String>), crate::error::Error> {
    let mut look = Look::at(conf)?;
    let listing = look.attachments(conf)?;
    let leases = look.leases(conf)?;
    let now = SystemTime::now();
    let mut rows = Vec::new();
    let cut_off =
        cut_off(&outside::attachments(look.site.file(), &look.site.node, &listing.leases));
    for lease in listing.leases {
        let holder = &lease.attachment;
        let key = key(&conf.name, holder);
        let since = leases.as_ref().map(|leases| leases.since(&key)).transpose()?.flatten();
        let state = match lost(&mut look, conf, holder)? {
            Some(state) => state,
            None => match (changes(&look.drift, holder), cut_off.get(&holder.veth)) {
                (0, None) => State::Whole,
                (0, Some(why)) => State::CutOff(why.clone()),
                (changes, _) => State::Drifted(changes),
            },
        };
        let age = since.and_then(|since| now.duration_since(since).ok());
        rows.push(Row { network: conf.name.clone(), lease, age, state });
    }
    rows.sort_by_key(|row| (pod_name(&row.lease.attachment), row.lease.attachment.ifname.clone()));
    Ok((rows, listing.broken.iter().map(ToString::to_string).collect()))
}

/// Whether there is anything that could be put right.
fn lost(
    look: &mut Look,
    conf: &NetworkConf,
    holder: &Holder,
) -> Result<Option<State>, crate::error::Error> {
    if holder.is_delegated() {
        return Ok(Some(State::Unknown("made for another plugin")));
    }
    let on_node = look.kernel.link(&holder.veth)?;
    if is_unleased(holder) {
        return Ok(Some(unleased(conf, on_node.as_ref())));
    }
    if holder.netns != look.netns {
        return Ok(Some(State::Unknown("made in another network namespace")));
    }
    let Some(on_node) = on_node else {
        return Ok(Some(State::Lost("the node's end of the veth pair is gone")));
    };
    let Some(sandbox) = &holder.sandbox else {
        return Ok(Some(match on_node.up {
            true => State::Unknown("nothing but processes leads to its network namespace"),
            false => State::Lost("the node's end of the veth pair is down"),
        }));
    };
    let Some(sandbox) = Netns::open(Path::new(sandbox))? else {
        return Ok(Some(State::Lost("the pod's network namespace is gone")));
    };
    let mut pod = Netlink::open_in(sandbox)?;
    let in_pod = match name_in_pod(&mut pod, holder, &on_node)? {
        Some(name) => pod.link(&name)?,
        None => None,
    };
    let ours = in_pod.is_some_and(|link| link.peer == Some(on_node.dev.index));
    Ok((!ours).then_some(State::Lost("the pod has lost the interface")))
}

/// By the node's end of their veth pairs.
fn cut_off(found: &[Outside<'_>]) -> BTreeMap<String, String> {
    let mut by_veth = BTreeMap::<String, Vec<String>>::new();
    for outside in found {
        by_veth.entry(outside.holder.veth.clone()).or_default().push(outside.to_string());
    }
    by_veth.into_iter().map(|(veth, words)| (veth, words.join(", "))).collect()
}

/// Of an attachment without a lease only the node's end is known.
fn unleased(conf: &NetworkConf, on_node: Option<&Link>) -> State {
    match on_node {
        None => State::Lost("the node's end of the veth pair is gone"),
        Some(link) if !link.up => State::Lost("the node's end of the veth pair is down"),
        Some(_) if conf.ipam.is_some() => State::Unknown("another IPAM plugin has its lease"),
        Some(_) => State::Unleased,
    }
}

/// How many changes `flatnet sync` would make to an attachment.
fn changes(drift: &SyncReport, holder: &Holder) -> usize {
    let on_node = drift.changes.changes().filter(|(dev, _)| *dev == holder.veth).count();
    let in_pod = drift.pods.iter().filter(|pod| pod.holder == *holder);
    on_node + in_pod.map(|pod| pod.changes.count()).sum::<usize>()
}

/// For people.
fn table(rows: &[Row]) -> Table {
    let several = rows.iter().any(|row| row.network != rows[0].network);
    let columns = ["POD", "INTERFACE", "ADDRESSES", "VETH", "AGE", "STATE"];
    let network = several.then_some("NETWORK");
    let titles = network.into_iter().chain(columns).map(|title| (title, Align::Left));
    let mut table = Table::new(titles);
    for row in rows {
        let holder = &row.lease.attachment;
        let addresses: Vec<_> = row.lease.addresses.iter().map(ToString::to_string).collect();
        let network = several.then(|| row.network.clone());
        table.row(network.into_iter().chain([
            pod_name(holder),
            holder.ifname.clone(),
            addresses.join(", "),
            holder.veth.clone(),
            row.age.map(age).unwrap_or_default(),
            row.state.words(),
        ]));
    }
    table
}

/// In the largest unit of which it has some: `90s`, `3m`, `5h`, `12d`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

impl Row {
    /// For scripts.
    fn json(&self) -> Value {
        let holder = &self.lease.attachment;
        json!({
            "network": self.network,
            "containerID": Some(&holder.container_id).filter(|id| !id.is_empty()),
            "pod": holder.pod,
            "ifname": holder.ifname,
            "addresses": self.lease.addresses,
            "veth": holder.veth,
            "sandbox": holder.sandbox,
            "ageSeconds": self.age.map(|age| age.as_secs()),
            "whole": self.state == State::Whole,
            "state": self.state.words(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatnet_ipam::Pod;

    fn row(network: &str, namespace: Option<&str>, name: Option<&str>, state: State) -> Row {
        let pod = Pod {
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            ..Pod::default()
        };
        let attachment = Holder {
            container_id: "0123456789abcdef".into(),
            ifname: "eth0".into(),
            veth: "veth0".into(),
            pod,
            ..Holder::default()
        };
        let addresses = vec!["10.1.1.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let lease = Record { attachment, addresses };
        Row { network: network.into(), lease, age: Some(Duration::from_secs(61)), state }
    }

    #[test]
    fn a_row_for_each_attachment() {
        let rows = [
            row("pods", Some("default"), Some("web"), State::Whole),
            row("pods", None, None, State::Drifted(1)),
        ];
        assert_eq!(
            table(&rows).render(None),
            "POD            INTERFACE  ADDRESSES          VETH   AGE  STATE\n\
             default/web    eth0       10.1.1.7, fd00::7  veth0  61s  whole\n\
             0123456789abc  eth0       10.1.1.7, fd00::7  veth0  61s  drifted: 1 change to make\n"
        );
        assert_eq!(rows[0].json()["whole"], true);
        let text = |rows: &[Row]| table(rows).render(None);
        let two = [row("a", None, Some("p"), State::Whole), row("b", None, None, State::Whole)];
        assert!(text(&two).starts_with("NETWORK  POD"), "{}", text(&two));
        assert_eq!(text(&[]), "POD  INTERFACE  ADDRESSES  VETH  AGE  STATE\n");
    }

    #[test]
    fn only_hashes_are_cut() {
        let name = |id: &str| pod_name(&Holder { container_id: id.into(), ..Holder::default() });
        assert_eq!(name("0123456789abcdef0123"), "0123456789abc");
        assert_eq!(name("lab-pod-1-127-and-more"), "lab-pod-1-127-and-more");
    }

    #[test]
    fn ages_are_short() {
        let table = [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")];
        for (seconds, words) in table {
            assert_eq!(age(Duration::from_secs(seconds)), words);
        }
    }
}
