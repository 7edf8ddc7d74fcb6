//! Nodes and ranges that there are already become keys. They hang on no lease until the nodes' agents come, so that
//! none is forgotten before.

use std::collections::BTreeMap;
use std::path::Path;

use flatnet::cli::Outcome;
use flatnet_conf::{ClusterNetwork, Range, RangeFile};

use super::super::client::{Failure, RANGE, TXN};
use super::super::keys::{Entry, Keys, block_value, node_value};
use super::super::list::list;
use super::super::wire::{
    Compare, KeyValue, Operation, PutRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use super::flannel;
use super::found::Found;
use super::site::{Answer, Site};
use super::view::{cluster, is_of};
use crate::judge::judge;
use crate::rejected::Rejected;

/// etcd takes no more operations in a transaction than 128.
const AT_ONCE: usize = 100;
/// So many contradictions are told.
const TOLD: usize = 20;

/// A key that is to be.
type Wanted = (Vec<u8>, Vec<u8>);

pub async fn run(site: &Site, file: Option<&Path>, flannel: Option<&str>, hosts: &Path) -> Answer {
    let found = match (file, flannel) {
        (Some(file), _) => from_file(&site.network, file)?,
        (None, Some(prefix)) => flannel::read(&site.client, prefix, hosts).await?,
        (None, None) => Vec::new(),
    };
    let steps = steps(&site.keys, &found)?;
    let mut present = BTreeMap::new();
    let listed = list(&site.client, site.keys.prefix(), |kv| {
        present.insert(kv.key.clone(), kv);
    });
    listed.await.map_err(|failure| format!("reading {}: {failure}", site.keys.prefix()))?;
    let steps = missing(&site.network, &site.keys, steps, &present)?;
    let mut written = 0;
    for some in steps.iter().flat_map(|step| step.chunks(AT_ONCE)) {
        write(site, some).await?;
        written += some.len();
    }
    let ranges: usize = found.iter().map(|node| node.ranges.len()).sum();
    let text = format!(
        "{} nodes with {ranges} ranges: {written} keys are written, the others were there\n",
        found.len()
    );
    Ok((text, Outcome::Fine))
}

fn from_file(network: &ClusterNetwork, path: &Path) -> Result<Vec<Found>, String> {
    let file = RangeFile::load(path).map_err(|e| e.to_string())?;
    for (what, here, there) in [
        ("vni", file.vni, network.vni),
        ("port", file.port.into(), network.port.into()),
        ("directRouting", file.direct_routing.into(), network.direct_routing.into()),
    ] {
        if here != there {
            return Err(format!(
                "{}: {what} is {here}, but {there} in --network: nodes would change it, and lose their way to others",
                path.display()
            ));
        }
    }
    let nodes = file.nodes.into_iter();
    Ok(nodes.map(|node| Found { name: node.name, vtep: node.vtep, ranges: node.ranges }).collect())
}

/// The keys to make, one step after the other: which of a node's ranges is older tells the order of steps.
fn steps(keys: &Keys, found: &[Found]) -> Result<Vec<Vec<Wanted>>, String> {
    let mut steps = vec![Vec::new()];
    let mut problems = Vec::new();
    for node in found {
        steps[0].push((keys.node(&node.name), node_value(&node.vtep.to_string())));
        for (place, range) in (1..).zip(&node.ranges) {
            let subnet = range.subnet();
            let whole = Range::parse(&subnet.to_string()).ok();
            let same = |whole: Range| *range == whole || *range == whole.retire();
            if !whole.is_some_and(same) {
                problems.push(format!(
                    "{}: of {subnet} only a part is given: that cannot be claimed",
                    node.name
                ));
            }
            if steps.len() <= place {
                steps.resize(place + 1, Vec::new());
            }
            if let Some(step) = steps.get_mut(place) {
                let value = block_value(subnet, &node.name, range.is_retiring());
                step.push((keys.block(subnet), value));
            }
        }
    }
    told(problems).map(|()| steps)
}

/// Those that are not there yet, if every agent will take all of them.
fn missing(
    network: &ClusterNetwork,
    keys: &Keys,
    steps: Vec<Vec<Wanted>>,
    present: &BTreeMap<Vec<u8>, KeyValue>,
) -> Result<Vec<Vec<Wanted>>, String> {
    let other = |(key, value): &&Wanted| present.get(key).is_some_and(|kv| kv.value != *value);
    let problems = steps.iter().flatten().filter(other).map(|(key, _)| contradiction(key));
    told(problems.collect())?;
    told(left_out(network, keys, &steps, present))?;
    let absent = |step: Vec<Wanted>| {
        step.into_iter().filter(|(key, _)| !present.contains_key(key)).collect()
    };
    Ok(steps.into_iter().map(absent).collect())
}

/// What agents will leave out of the wanted, which they judge beside what is there, and younger than that.
fn left_out(
    network: &ClusterNetwork,
    keys: &Keys,
    steps: &[Vec<Wanted>],
    present: &BTreeMap<Vec<u8>, KeyValue>,
) -> Vec<String> {
    let newest = present.values().map(|kv| kv.mod_revision).max().unwrap_or_default();
    let all = (newest.saturating_add(1)..).zip(steps);
    let all = all.flat_map(|(revision, step)| step.iter().map(move |wanted| (revision, wanted)));
    let wanted = all.filter_map(|(revision, (key, value))| {
        let new = made(key.clone(), value.clone(), revision);
        keys.read(present.get(&new.key).unwrap_or(&new))
    });
    let wanted: Vec<Entry> = wanted.collect();
    let there = present.values().filter_map(|kv| keys.read(kv));
    let judged = judge(network, &cluster(there.chain(wanted.iter().cloned())));
    let own = |rejected: &&Rejected| wanted.iter().any(|entry| is_of(rejected, entry));
    let told = judged.rejected().filter(own);
    told.map(|rejected| format!("{}: {}", rejected.node, rejected.problem)).collect()
}

/// A key as it is when this revision has made it.
fn made(key: Vec<u8>, value: Vec<u8>, revision: i64) -> KeyValue {
    KeyValue { key, value, create_revision: revision, mod_revision: revision, lease: 0 }
}

fn contradiction(key: &[u8]) -> String {
    format!("{} is there already, and says something else", super::view::shown(key))
}

fn told(problems: Vec<String>) -> Result<(), String> {
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more of the kind") } else { String::new() };
    let some: Vec<String> = problems.into_iter().take(TOLD).collect();
    Err(format!("nothing is written: {}{more}", some.join("; ")))
}

async fn write(site: &Site, some: &[Wanted]) -> Result<(), String> {
    let failed = |failure: Failure| format!("writing below {}: {failure}", site.keys.prefix());
    let put = |(key, value): &Wanted| {
        Operation::Put(PutRequest { key: key.clone(), value: value.clone(), lease: 0 }).into()
    };
    let txn = TxnRequest {
        compare: some.iter().map(|(key, _)| Compare::is_absent(key.clone())).collect(),
        success: some.iter().map(put).collect(),
        failure: Vec::new(),
    };
    let done: TxnResponse = site.client.ask(TXN, txn).await.map_err(failed)?;
    if done.succeeded {
        return Ok(());
    }
    // An answer that was lost on the way was sent again: what is there may be what was written.
    for (key, value) in some {
        let request = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let answer: RangeResponse = site.client.ask(RANGE, request).await.map_err(failed)?;
        if answer.kvs.first().is_none_or(|kv| kv.value != *value) {
            return Err(format!(
                "{}: somebody has just written it; import again",
                contradiction(key)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{net, network};

    fn found(name: &str, vtep: &str, ranges: &[&str]) -> Found {
        let ranges = ranges.iter().map(|range| Range::parse(range).unwrap()).collect();
        Found { name: name.to_owned(), vtep: vtep.parse().unwrap(), ranges }
    }

    fn texts(steps: &[Vec<Wanted>]) -> Vec<Vec<String>> {
        let text = |(key, value): &Wanted| {
            let key = String::from_utf8_lossy(key).replace("/flatnet/pods/", "");
            format!("{key} {}", String::from_utf8_lossy(value))
        };
        steps.iter().map(|step| step.iter().map(text).collect()).collect()
    }

    #[test]
    fn a_nodes_ranges_keep_their_order() {
        let mut nodes = [
            found("a", "192.0.2.1", &["10.1.9.0/24", "10.1.2.0/24"]),
            found("b", "192.0.2.2", &["fd00:1::/120"]),
        ];
        nodes[0].ranges[1] = nodes[0].ranges[1].clone().retire();
        let steps = steps(&Keys::of("pods"), &nodes).unwrap();
        let expected = vec![
            vec![r#"nodes/a {"vtep":"192.0.2.1"}"#, r#"nodes/b {"vtep":"192.0.2.2"}"#],
            vec![
                r#"blocks/10.1.9.0-24 {"node":"a","range":"10.1.9.0/24","retiring":false}"#,
                r#"blocks/fd00:1::-120 {"node":"b","range":"fd00:1::/120","retiring":false}"#,
            ],
            vec![r#"blocks/10.1.2.0-24 {"node":"a","range":"10.1.2.0/24","retiring":true}"#],
        ];
        assert_eq!(texts(&steps), expected);
    }

    /// Keys that are there, each younger than the one before.
    fn there(wanted: impl IntoIterator<Item = Wanted>) -> BTreeMap<Vec<u8>, KeyValue> {
        let kv =
            |(revision, (key, value)): (i64, Wanted)| (key.clone(), made(key, value, revision));
        (1..).zip(wanted).map(kv).collect()
    }

    /// What is written of the keys of these nodes, beside what is there.
    fn written(found: &[Found], there: &BTreeMap<Vec<u8>, KeyValue>) -> Result<Vec<usize>, String> {
        let keys = Keys::of("pods");
        let left = missing(&network(), &keys, steps(&keys, found)?, there)?;
        Ok(left.iter().map(Vec::len).collect())
    }

    #[test]
    fn what_is_there_stays_and_what_contradicts_ends_it() {
        let keys = Keys::of("pods");
        let a = [found("a", "192.0.2.1", &["10.1.9.0/24"])];
        let node = (keys.node("a"), node_value("192.0.2.1"));
        assert_eq!(written(&a, &there([node.clone()])), Ok(vec![0, 1]));
        let block =
            |node| (keys.block(net("10.1.9.0/24")), block_value(net("10.1.9.0/24"), node, false));
        assert_eq!(written(&a, &there([node.clone(), block("a")])), Ok(vec![0, 0]));
        let error = "nothing is written: /flatnet/pods/blocks/10.1.9.0-24 is there already, and says something else";
        assert_eq!(written(&a, &there([node, block("b")])), Err(error.to_owned()));
    }

    #[test]
    fn what_agents_will_leave_out_is_not_written() {
        let present = [found("a", "192.0.2.1", &[]), found("b", "192.0.2.2", &["10.1.157.0/24"])];
        let present = there(steps(&Keys::of("pods"), &present).unwrap().concat());
        let alone = |name, vtep, range: &str| written(&[found(name, vtep, &[range])], &present);
        assert_eq!(alone("x", "192.0.2.3", "10.1.158.0/25"), Ok(vec![1, 1]));
        for (vtep, range, problem) in [
            (
                "192.0.2.3",
                "10.1.157.0/25",
                "10.1.157.0/25 overlaps 10.1.157.0/24 of b, which is older",
            ),
            ("192.0.2.3", "10.9.0.0/24", "10.9.0.0/24 is not inside any of clusterCIDRs"),
            ("192.0.2.1", "10.1.9.0/24", "its VTEP 192.0.2.1 is that of a, which is older"),
            ("10.1.0.7", "10.1.9.0/24", "its VTEP 10.1.0.7 is inside the pod network"),
            ("2001:db8::1", "10.1.9.0/24", "its VTEP 2001:db8::1 is not of the family"),
        ] {
            let error = alone("x", vtep, range).unwrap_err();
            assert!(error.starts_with(&format!("nothing is written: x: {problem}")), "{error}");
        }
    }

    #[test]
    fn what_is_left_out_already_is_told() {
        let keys = Keys::of("pods");
        let key = |name, vtep| (keys.node(name), node_value(vtep));
        let present = there([key("a", "192.0.2.1"), key("y", "192.0.2.1")]);
        let other = [found("b", "192.0.2.2", &["10.1.9.0/24"])];
        assert_eq!(written(&other, &present), Ok(vec![1, 1]), "y is not imported");
        let error = written(&[found("y", "192.0.2.1", &["10.1.9.0/24"])], &present).unwrap_err();
        assert!(error.contains("y: its VTEP 192.0.2.1 is that of a"), "{error}");
    }

    #[test]
    fn a_part_of_a_range_is_told() {
        let mut part = found("a", "192.0.2.1", &["10.1.9.0/24"]);
        let start = Some("10.1.9.7".parse().unwrap());
        part.ranges[0] = Range::new(net("10.1.9.0/24"), start, None, Vec::new()).unwrap();
        let error = steps(&Keys::of("pods"), &[part]).unwrap_err();
        assert!(error.contains("of 10.1.9.0/24 only a part"), "{error}");
    }
}
