//! What is inconsistent among the keys of a network, and the command that mends it.

use std::collections::BTreeSet;
use std::fmt;

use flatnet::cli::{Outcome, age};
use flatnet_conf::ClusterNetwork;

use super::super::client::ALARM;
use super::super::wire::{AlarmRequest, AlarmResponse};
use super::site::{Answer, Site};
use super::view::{View, is_of, shown};
use crate::judge::judge;

/// Alarms of etcd by their numbers.
const NO_SPACE: i32 = 1;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// What.
    what: String,
    /// A command, or what else is to be done.
    mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n    {}", self.what, self.mend)
    }
}

pub async fn run(site: &Site) -> Answer {
    let view = View::read(site).await?;
    let mut findings = findings(&site.network, &view);
    // Who may not ask for alarms is told of the rest.
    match site.client.ask::<_, AlarmResponse>(ALARM, AlarmRequest {}).await {
        Ok(answer) => findings.extend(alarms(&answer)),
        Err(failure) => log::debug!("alarms of etcd: {failure}"),
    }
    let prefix = site.keys.prefix();
    if findings.is_empty() {
        return Ok((format!("{prefix}: {} keys, nothing wrong\n", view.seen.len()), Outcome::Fine));
    }
    let text = findings.iter().map(ToString::to_string).collect();
    Ok((text, Outcome::Finding))
}

fn findings(network: &ClusterNetwork, view: &View) -> Vec<Finding> {
    let cluster = view.cluster();
    let judged = judge(network, &cluster);
    let mut findings = Vec::new();
    for rejected in judged.rejected() {
        let key = view.seen.iter().find(|seen| is_of(rejected, &seen.entry));
        let mend = key.map_or_else(String::new, |seen| delete(&seen.key));
        findings.push(Finding { what: rejected.to_string(), mend });
    }
    findings.extend(view.others.iter().map(|key| Finding {
        what: format!("{} is neither a node's nor a block's", shown(key)),
        mend: delete(key),
    }));
    let forget = |node: &str| format!("flatnet-agent etcd forget {node}");
    for (node, blocks) in &judged.holdings {
        if !judged.nodes.contains_key(node) {
            let count = blocks.len();
            let blocks = if count == 1 { "block" } else { "blocks" };
            findings.push(Finding {
                what: format!("{node} holds {count} {blocks}, but nobody knows where it is"),
                mend: format!("start its agent, or: {}", forget(node)),
            });
        }
    }
    for node in judged.nodes.keys().filter(|node| !judged.holdings.contains_key(*node)) {
        findings.push(Finding {
            what: format!("{node} holds no block"),
            mend: format!(
                "see what its agent waits for (flatnet doctor there), or: {}",
                forget(node)
            ),
        });
    }
    let names: BTreeSet<&String> = judged.nodes.keys().chain(judged.holdings.keys()).collect();
    findings.extend(names.into_iter().filter_map(|node| lease(view, node)));
    findings
}

/// What is wrong with the lease of a node.
fn lease(view: &View, node: &str) -> Option<Finding> {
    let own = view.seen.iter().filter(|seen| seen.entry.node() == node);
    let leases: BTreeSet<i64> = own.map(|seen| seen.lease).collect();
    let mend = format!("start its agent, or: flatnet-agent etcd forget {node}");
    if leases.contains(&0) {
        let what = format!(
            "{node} has keys that hang on no lease, as those that were imported: it is never forgotten"
        );
        return Some(Finding { what, mend });
    }
    let life = view.life(node)?;
    if life.is_late() {
        let (age, left) = (age(life.age()), age(life.left()));
        let what =
            format!("the agent of {node} was last heard of {age} ago; it is forgotten in {left}");
        return Some(Finding { what, mend });
    }
    (leases.len() > 1).then(|| Finding {
        what: format!("keys of {node} hang on {} leases", leases.len()),
        mend: format!("restart its agent; one node of a name may have an agent ({mend})"),
    })
}

fn alarms(answer: &AlarmResponse) -> Option<Finding> {
    let full = answer.alarms.iter().any(|alarm| alarm.alarm == NO_SPACE);
    if full {
        return Some(Finding {
            what: "etcd's quota is full: nothing can be written".to_owned(),
            mend: "etcdctl compact REVISION; etcdctl defrag --cluster; etcdctl alarm disarm"
                .to_owned(),
        });
    }
    (!answer.alarms.is_empty()).then(|| Finding {
        what: "a member of etcd is corrupt".to_owned(),
        mend: "etcdctl alarm list names it; replace it by a new one".to_owned(),
    })
}

/// The command that deletes a key, if a shell takes it as it is.
fn delete(key: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._:-".contains(byte);
    match (key.iter().all(plain), std::str::from_utf8(key)) {
        (true, Ok(key)) => format!("etcdctl del {key}"),
        _ => format!("etcdctl del, of the key {}", shown(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::admin::fixture::{lives, view};
    use crate::etcd::wire::Alarm;
    use crate::fixture::network;

    fn found(view: &View) -> Vec<(String, String)> {
        let findings = findings(&network(), view);
        findings.into_iter().map(|Finding { what, mend }| (what, mend)).collect()
    }

    #[test]
    fn nothing_is_wrong_with_nodes_that_live() {
        let mut view =
            view(&["a 192.0.2.1", "10.1.1.0/24 a", "b 192.0.2.2", "10.1.2.0/24 b retiring"]);
        lives(&mut view, "a", 86_400, 86_300);
        lives(&mut view, "b", 60, 55);
        assert_eq!(found(&view), []);
    }

    #[test]
    fn each_finding_has_what_mends_it() {
        let mut view = view(&[
            "a 192.0.2.1",
            "10.1.1.0/24 a",
            "b 192.0.2.1",
            "10.1.2.0/24 gone",
            "late 192.0.2.3",
            "10.1.3.0/24 late",
            "alone 192.0.2.4",
            "10.1.5.0/24 free",
            "free 192.0.2.5",
        ]);
        for (node, left) in [("a", 86_400), ("gone", 86_400), ("late", 3_600), ("alone", 86_400)] {
            lives(&mut view, node, 86_400, left);
        }
        view.others.push(b"/flatnet/pods/notes".to_vec());
        view.others.push(b"/flatnet/pods/a; rm -rf ~\n".to_vec());
        let found = found(&view);
        let expected = [
            (
                "node b is left out: its VTEP 192.0.2.1 is that of a, which is older",
                "etcdctl del /flatnet/pods/nodes/b",
            ),
            ("/flatnet/pods/notes is neither", "etcdctl del /flatnet/pods/notes"),
            (
                r"/flatnet/pods/a; rm -rf ~\n is neither",
                r"etcdctl del, of the key /flatnet/pods/a; rm -rf ~\n",
            ),
            (
                "gone holds 1 block, but nobody",
                "start its agent, or: flatnet-agent etcd forget gone",
            ),
            (
                "alone holds no block",
                "see what its agent waits for (flatnet doctor there), or: flatnet-agent etcd forget alone",
            ),
            (
                "free has keys that hang on no lease",
                "start its agent, or: flatnet-agent etcd forget free",
            ),
            (
                "the agent of late was last heard of 23h ago; it is forgotten in 60m",
                "start its agent, or: flatnet-agent etcd forget late",
            ),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for ((what, mend), (begins, mends)) in found.iter().zip(expected) {
            assert!(what.starts_with(begins), "{what}");
            assert_eq!(mend, mends);
        }
    }

    #[test]
    fn a_full_etcd_is_told() {
        let alarm = |alarm| AlarmResponse { alarms: vec![Alarm { member: 1, alarm }] };
        assert!(alarms(&alarm(NO_SPACE)).unwrap().what.contains("quota is full"));
        assert!(alarms(&alarm(2)).unwrap().what.contains("corrupt"));
        assert_eq!(alarms(&AlarmResponse::default()), None);
    }
}
