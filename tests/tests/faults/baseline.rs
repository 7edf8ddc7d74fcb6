//! How a node looks without a pod, and what differs from that: what a fault left behind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flatnet_tests::node::{Node, Pod};
use flatnet_tests::{kernel, probe, snapshot};

/// A node with its overlay and without pods.
pub struct Baseline<'a> {
    node: &'a Node,
    views: BTreeMap<&'static str, Vec<String>>,
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl<'a> Baseline<'a> {
    /// The node after a first pod has come and gone, so that everything that stays is there.
    pub fn of(node: &'a Node) -> Self {
        node.del(&node.add("first")).silent();
        node.assert_no_attachment();
        Self::as_is(node)
    }

    /// The node as it stands.
    pub fn as_is(node: &'a Node) -> Self {
        let views = snapshot::namespace(&node.netns);
        Self { node, views, files: files(node) }
    }

    /// What differs now in the kernel and among the files.
    pub fn left(&self) -> Vec<String> {
        let mut left = snapshot::difference(&self.views, &snapshot::namespace(&self.node.netns));
        left.extend(snapshot::difference(&self.files, &files(self.node)));
        left
    }

    /// What is left of attachments alone, where the overlay may be in the making.
    pub fn left_of_pods(&self) -> Vec<String> {
        let veths = kernel::link_names(&self.node.netns).into_iter();
        let mut left: Vec<String> = veths.filter(|name| name.starts_with("veth")).collect();
        let state = self.node.state();
        let pods = |path: &PathBuf| {
            path.strip_prefix(&state).is_ok_and(|path| {
                (path.starts_with("leases") || path.starts_with("addresses"))
                    && path.components().count() > 1
            })
        };
        left.extend(files(self.node).into_keys().filter(pods).map(|p| p.display().to_string()));
        left
    }

    /// ADD once more, behind a DEL where the attachment stands finished, a packet each way of both
    /// families, and what is wrong with that.
    pub fn attach(&self, pod: &mut Pod) -> Vec<String> {
        let mut outcome = self.node.call_for("ADD", pod).run();
        if !outcome.status().success() && outcome.error().code == 102 {
            let del = self.node.del(pod);
            if !del.status().success() {
                return vec![format!("DEL failed: {:?}", del.error())];
            }
            outcome = self.node.call_for("ADD", pod).run();
        }
        if !outcome.status().success() {
            return vec![format!("the next ADD failed: {:?}", outcome.error())];
        }
        pod.result = outcome.result();
        self.lives(pod)
    }

    /// Whether an attached pod has its addresses and reaches its node, by what is wrong.
    pub fn lives(&self, pod: &Pod) -> Vec<String> {
        let on = kernel::addresses(&pod.netns, &pod.ifname);
        let mut wrong = Vec::new();
        for (address, gateway) in pod.addresses().into_iter().zip(self.node.vtep_addresses()) {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            if !on.contains(&format!("{address}/{prefix}")) {
                wrong.push(format!("{address} is not on the pod: {on:?}"));
            }
            if !probe::reaches(&pod.netns, gateway) {
                wrong.push(format!("{address} does not reach its node"));
            }
        }
        let leases = self.node.leases();
        if !leases.iter().any(|lease| lease["containerID"] == pod.container_id.as_str()) {
            wrong.push(format!("no lease of {}: {leases:?}", pod.container_id));
        }
        wrong
    }

    /// DEL, which must succeed in silence, and what is left then.
    pub fn detach(&self, pod: &Pod) -> Vec<String> {
        let outcome = self.node.del(pod);
        if !outcome.status().success() {
            return vec![format!("DEL failed: {:?}", outcome.error())];
        }
        self.left()
    }
}

/// The files of the node, but for the round-robin cursor and the stamp, whose content may change.
fn files(node: &Node) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = snapshot::folder(&node.state());
    for name in ["lock", "overlay.json"] {
        if let Some((_, content)) = files.get_mut(&node.state().join(name)) {
            content.clear();
        }
    }
    files
}

/// Counts the points of one test and what went wrong at them.
pub struct Tally {
    title: &'static str,
    tried: usize,
    missed: usize,
    bad: Vec<String>,
}

impl Tally {
    /// Nothing tried yet.
    pub fn new(title: &'static str) -> Self {
        Self { title, tried: 0, missed: 0, bad: Vec::new() }
    }

    /// One point, whether the fault happened, and what was wrong after it, which is said at once: a
    /// later point may hang. Only faults that happened count as tried.
    pub fn point(&mut self, point: &str, happened: bool, wrong: Vec<String>) {
        if happened {
            self.tried += 1;
        } else {
            self.missed += 1;
        }
        if !wrong.is_empty() {
            eprintln!("{}: {point}: {wrong:#?}", self.title);
            self.bad.push(format!("{point}: {wrong:#?}"));
        }
    }

    /// Prints the counts; fails the test if anything was wrong.
    pub fn finish(self) {
        let Self { title, tried, missed, bad } = self;
        println!("{title}: {tried} tried, {} left something behind ({missed} missed)", bad.len());
        // A suite whose faults do not happen finds nothing. Some are missed because a run may need
        // fewer calls of a kind than the one that was listed.
        assert!(tried > 0 && missed * 10 <= tried, "{title}: too many faults did not happen");
        assert!(bad.is_empty(), "{title}: {}", bad.join("\n"));
    }
}
