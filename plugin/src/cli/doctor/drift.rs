//! What stands in the kernel is not what the range file says.

use super::fast_path;
use super::scene::Scene;
use crate::cli::drift::Peers;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::identity::overlay_name;
use crate::kernel::{Change, FdbEntry, Observe as _};
use crate::upkeep::sync::InPod;

/// Puts what `flatnet sync` would change into words, kind by kind; nothing of that where another check
/// finds what a sync cannot mend and all of it hangs on.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    if scene.clash || scene.underlay.place.own.is_none() {
        explain_all(scene);
        return Ok(Vec::new());
    }
    let Some(overlay) = scene.overlay.clone() else {
        let name = overlay_name(scene.look.site.vni());
        let what = format!("the overlay device {name} is missing");
        explain_all(scene);
        return Ok(vec![Finding::run(what, "pods reach no other node", &scene.sync)]);
    };
    let fdb = scene.look.kernel.fdb(overlay.dev.index)?;
    let drift = &scene.look.drift;
    let peers = Peers::of(scene.look.site.file(), &scene.look.site.node);
    let mut kinds = Kinds::default();
    for (dev, change) in drift.changes.changes().filter(|(_, it)| !fast_path::is_about(it)) {
        let peer = peers.of_change(change);
        kinds.sort(&overlay.dev.name, overlay.mtu, &fdb, dev, change, peer);
    }
    scene.explained.extend(peers.of_changes(drift.changes.changes()).into_iter().map(String::from));
    let others = drift.changes.others().filter(|words| !fast_path::are_about(words));
    others.for_each(|words| kinds.sort_other(&overlay.dev.name, words));
    kinds.pods.extend(drift.pods.iter().map(in_pod));
    let broken = kinds.settle();
    let mut findings = kinds.findings(&scene.sync);
    findings.extend(drift.problems.iter().map(|problem| unreadable(problem)));
    if broken {
        explain_all(scene);
    }
    Ok(findings)
}

/// Without a whole overlay device no peer answers.
fn explain_all(scene: &mut Scene<'_>) {
    let peers: Vec<_> = scene.unexplained().map(|peer| peer.name.clone()).collect();
    scene.explained.extend(peers);
}

/// What is not whole in a pod, with what it lacks.
fn in_pod(pod: &InPod) -> String {
    let commands: Vec<_> = pod.changes.words().map(|words| format!("`{words}`")).collect();
    format!("{pod} ({})", some(&commands))
}

fn unreadable(problem: &str) -> Finding {
    Finding::advise(
        problem,
        "its addresses are kept from other pods, and nothing tells whether they are used",
        "delete the pod, or have the runtime call GC",
    )
}

/// The changes to make, each in words, by what comes of them.
#[derive(Default)]
struct Kinds {
    /// The overlay device is another than it should be, or down: all that is on it comes with it.
    whole_device: Option<String>,
    device: Vec<String>,
    missing: Vec<String>,
    stale: Vec<String>,
    pods: Vec<String>,
    others: Vec<String>,
}

impl Kinds {
    fn sort(
        &mut self,
        overlay: &str,
        mtu: u32,
        fdb: &[FdbEntry],
        dev: &str,
        change: &Change,
        peer: Option<&str>,
    ) {
        let whose = peer.map(|peer| format!(" of {peer}")).unwrap_or_default();
        match change {
            Change::AddRoute(route) | Change::PutRoute(route) if peer.is_some() => {
                self.missing.push(format!("the route to {}{whose}", route.dst));
            }
            Change::PutNeighbour(entry) if peer.is_some() => {
                self.missing.push(format!("the neighbour entry {}{whose}", entry.address));
            }
            Change::PutFdb(entry) => match fdb.iter().find(|has| has.mac == entry.mac) {
                Some(has) => self.stale.push(format!(
                    "the FDB entry{whose} sends to {} instead of {}",
                    has.vtep, entry.vtep
                )),
                None => self.missing.push(format!("the FDB entry{whose}")),
            },
            Change::DelFdb(FdbEntry { mac, vtep }) => self
                .stale
                .push(format!("the FDB entry {mac} sends to {vtep}, which is no such node's")),
            Change::DelRoute(route) => {
                self.stale.push(format!("the route to {}, which is no node's", route.dst));
            }
            Change::DelNeighbour(address) => {
                self.stale.push(format!("the neighbour entry {address}, which is no node's"));
            }
            Change::Up if dev == overlay => {
                self.whole_device.get_or_insert(format!("{dev} is down"));
            }
            Change::Mtu(wanted) if dev == overlay => {
                self.device.push(format!("{dev} has MTU {mtu} and should have {wanted}"));
            }
            Change::Mac(wanted) if dev == overlay => {
                self.device
                    .push(format!("{dev} has another MAC than {wanted}, to which peers send"));
            }
            change if dev == overlay => {
                self.device.push(format!("`{}` is to do", change.command(dev)))
            }
            change => self.pods.push(format!("{dev} (`{}`)", change.command(dev))),
        }
    }

    fn sort_other(&mut self, overlay: &str, words: &str) {
        if !words.split([' ', '/']).any(|word| word == overlay) {
            self.others.push(words.into());
        } else if words.starts_with("ip link add ") {
            self.whole_device = Some(format!(
                "{overlay} is not the device that the range file describes, and is to be made again"
            ));
        } else {
            self.device.push(format!("`{words}` is to do"));
        }
    }

    /// Leaves out what is only the consequence of a device that is not whole: its entries are lost, or
    /// lead nowhere. Tells whether that is so.
    fn settle(&mut self) -> bool {
        if let Some(words) = self.whole_device.take() {
            self.device = vec![words];
        }
        let broken = !self.device.is_empty();
        if broken {
            self.missing.clear();
            self.stale.clear();
        }
        broken
    }

    fn findings(self, sync: &str) -> Vec<Finding> {
        let table = [
            (self.device, "", "packets between nodes are lost"),
            (self.missing, "missing or wrong: ", "pods do not reach those nodes"),
            (self.stale, "stale: ", "packets go where no pod waits for them"),
            (
                self.pods,
                "attachments that are not whole: ",
                "these pods are cut off, or not guarded",
            ),
            (
                self.others,
                "packet filter or settings are not as they should be: ",
                "packets are dropped, or pass that should not",
            ),
        ];
        let kinds = table.into_iter().filter(|(words, ..)| !words.is_empty());
        kinds
            .map(|(words, lead, why)| Finding::run(format!("{lead}{}", some(&words)), why, sync))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Route;
    use flatnet_conf::Mac;

    fn found(dev: &str, change: &Change, peer: Option<&str>) -> String {
        let vtep = "192.0.2.66".parse().unwrap();
        let fdb = [FdbEntry { mac: Mac([2, 0, 0, 0, 0, 1]), vtep }];
        let mut kinds = Kinds::default();
        kinds.sort("flat.7", 1400, &fdb, dev, change, peer);
        kinds.settle();
        let mut findings = kinds.findings("flatnet sync");
        assert_eq!(findings.len(), 1);
        findings.remove(0).what
    }

    #[test]
    fn each_kind_in_plain_words() {
        let route = Route {
            dst: "10.1.2.0/24".parse().unwrap(),
            gateway: None,
            onlink: false,
            source: None,
            metric: None,
        };
        let entry =
            |last| FdbEntry { mac: Mac([2, 0, 0, 0, 0, last]), vtep: "192.0.2.2".parse().unwrap() };
        for (dev, change, peer, what) in [
            (
                "flat.7",
                Change::PutRoute(route.clone()),
                Some("b"),
                "missing or wrong: the route to 10.1.2.0/24 of b",
            ),
            (
                "flat.7",
                Change::PutFdb(entry(1)),
                Some("b"),
                "stale: the FDB entry of b sends to 192.0.2.66 instead of 192.0.2.2",
            ),
            ("flat.7", Change::PutFdb(entry(9)), Some("b"), "missing or wrong: the FDB entry of b"),
            (
                "flat.7",
                Change::DelFdb(entry(9)),
                None,
                "stale: the FDB entry 02:00:00:00:00:09 sends to 192.0.2.2, which is no such node's",
            ),
            ("flat.7", Change::Mtu(1450), None, "flat.7 has MTU 1400 and should have 1450"),
            ("flat.7", Change::Up, None, "flat.7 is down"),
            ("flat.7", Change::NoLinkLocal, None, "`ip link set flat.7 addrgenmode none` is to do"),
            (
                "veth1",
                Change::AddRoute(route),
                None,
                "attachments that are not whole: veth1 (`ip route add 10.1.2.0/24 dev veth1 proto 102`)",
            ),
        ] {
            assert_eq!(found(dev, &change, peer), what);
        }
    }
    #[test]
    fn what_hangs_on_a_device_is_not_told_beside_it() {
        let entry = FdbEntry { mac: Mac([2; 6]), vtep: "192.0.2.2".parse().unwrap() };
        let told = |others: &[&str], up: bool| {
            let mut kinds = Kinds::default();
            kinds.sort("flat.7", 1400, &[], "flat.7", &Change::PutFdb(entry.clone()), Some("b"));
            if up {
                kinds.sort("flat.7", 1400, &[], "flat.7", &Change::Up, None);
            }
            others.iter().for_each(|words| kinds.sort_other("flat.7", words));
            kinds.settle();
            let found = kinds.findings("flatnet sync").into_iter();
            found.map(|found| found.what).collect::<Vec<_>>()
        };
        assert_eq!(told(&[], false), ["missing or wrong: the FDB entry of b"]);
        assert_eq!(told(&[], true), ["flat.7 is down"]);
        let again =
            "flat.7 is not the device that the range file describes, and is to be made again";
        let made =
            ["ip link delete flat.7", "ip link add flat.7 mtu 1450", "ethtool -K flat.7 gro off"];
        assert_eq!(told(&made, true), [again]);
        let another =
            "packet filter or settings are not as they should be: sysctl -w a/flat.77/b=0";
        let both = ["missing or wrong: the FDB entry of b", another];
        assert_eq!(told(&["sysctl -w a/flat.77/b=0"], false), both);
        let ours = "`sysctl -w a/flat.7/b=0` is to do";
        assert_eq!(told(&["sysctl -w a/flat.7/b=0"], false), [ours]);
    }
}
