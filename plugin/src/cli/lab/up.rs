//! `flatnet lab up`: builds a lab, or leaves nothing.

use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use flatnet_conf::RangeFile;
use nix::fcntl::Flock;
use serde_json::{Value, json};

use super::folder::{Folder, Root};
use super::interrupt::Interrupt;
use super::name::Name;
use super::record::{LabRecord, VERSION};
use super::runtime::Runtime;
use super::underlay::LabUnderlay;
use super::{addresses, down, namespace, namespace_folder};
use crate::cli::error::CommandError;
use crate::cli::output::{Answer, Outcome, complain};
use crate::cli::progress::Progress;

/// Builds it and says how to look at it.
pub fn run(name: &Name, nodes: usize, pods: usize, json: bool) -> Result<Answer, CommandError> {
    let interrupt = Interrupt::hold()?;
    let range_file = addresses::range_file(nodes, pods, has_ipv6())?;
    let folder = Folder::of(name);
    let record = plan(name, &folder, &range_file, pods)?;
    let mut building = Building::begin(folder, record)?;
    building.build(&range_file, &interrupt)?;
    let record = building.commit()?;
    Ok(match json {
        true => Answer::json(&document(&record)?, Outcome::Fine),
        false => Answer::fine(words(&record, &range_file)),
    })
}

/// Everything that the lab will be, decided before anything is touched.
fn plan(
    name: &Name,
    folder: &Folder,
    file: &RangeFile,
    pods: usize,
) -> Result<LabRecord, CommandError> {
    let plugin = env::current_exe()
        .map_err(CommandError::file("find the executable by", Path::new("/proc/self/exe")))?;
    let configuration = json!({
        "cniVersion": VERSION.as_str(),
        "name": name,
        "type": "flatnet",
        "rangeFile": folder.range_file(),
        "stateDir": folder.state_dir(),
    });
    let record = LabRecord::plan(name, file, pods, plugin, configuration);
    if folder.exists() {
        return Err(there_already(name));
    }
    let taken = record.namespaces().find(|netns| namespace::exists(netns));
    taken.map_or(Ok(()), |taken| {
        Err(CommandError::Refused(format!(
            "{} exists and is not of a lab that is known here; use another --name, or remove it \
             with `ip netns delete {taken}`",
            namespace_folder::file(taken).display(),
        )))
    })?;
    Ok(record)
}

fn there_already(name: &Name) -> CommandError {
    CommandError::Refused(format!(
        "lab {name} is there already; remove it with `{}`",
        hint("down", name)
    ))
}

/// A lab under construction. Unless it is committed, all that was made is removed.
struct Building {
    folder: Folder,
    record: LabRecord,
    committed: bool,
    _lock: Flock<File>,
}

impl Building {
    fn begin(folder: Folder, record: LabRecord) -> Result<Self, CommandError> {
        if !folder.create()? {
            return Err(there_already(&record.name));
        }
        let lock = folder.lock()?;
        Ok(Self { folder, record, committed: false, _lock: lock })
    }

    fn build(&mut self, range_file: &RangeFile, interrupt: &Interrupt) -> Result<(), CommandError> {
        // From here on `down` knows what to look for, whatever becomes of this process.
        self.folder.save(&self.record)?;
        self.folder.save_inputs(&self.record, &range_file.to_json())?;
        let lock = Root::lock()?;
        namespace_folder::prepare()?;
        let lab = &self.record.name;
        let nodes = self.record.nodes.len();
        let netns = namespace::create(lab, &self.record.underlay)?;
        let mut underlay = LabUnderlay::create(netns, nodes)?;
        drop(lock);
        // All nodes stand before the first pod comes: as in a cluster, and each finds the others.
        let mut progress = Progress::new("node", nodes);
        for (index, node) in self.record.nodes.iter().enumerate() {
            interrupt.check()?;
            underlay.connect(index + 1, namespace::create(lab, &node.netns)?)?;
            progress.step();
        }
        drop(progress);
        self.attach(range_file, interrupt)
    }

    fn attach(
        &mut self,
        range_file: &RangeFile,
        interrupt: &Interrupt,
    ) -> Result<(), CommandError> {
        let mut results = Vec::new();
        let lab = &self.record.name;
        let runtime = Runtime::new(&self.record);
        let pods = self.record.nodes.iter().map(|node| node.pods.len()).sum();
        let mut progress = Progress::new("pod", pods);
        for (node, listed) in self.record.nodes.iter().zip(&range_file.nodes) {
            let netns = namespace::open(lab, &node.netns)?;
            for (pod, asked) in node.pods.iter().zip(addresses::of_pods(listed)) {
                interrupt.check()?;
                namespace::create(lab, &pod.netns)?;
                let added = runtime.add(&netns, pod, &asked);
                // ^C on a terminal ends the plugin too; then that is the reason.
                if added.is_err() {
                    interrupt.check()?;
                }
                results.push(added?);
                progress.step();
            }
        }
        let pods = self.record.nodes.iter_mut().flat_map(|node| &mut node.pods);
        for (pod, result) in pods.zip(results) {
            pod.result = result;
        }
        Ok(())
    }

    fn commit(mut self) -> Result<LabRecord, CommandError> {
        self.record.complete = true;
        self.folder.save(&self.record)?;
        self.committed = true;
        Ok(self.record.clone())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !self.committed {
            for failure in down::remove(&self.folder, Some(&self.record)) {
                complain(&format_args!("while removing what was made: {failure}"));
            }
        }
    }
}

/// A kernel started with `ipv6.disable=1` has no such table.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn hint(command: &str, name: &Name) -> String {
    match name.as_str() {
        "lab" => format!("flatnet lab {command}"),
        name => format!("flatnet lab {command} --name {name}"),
    }
}

/// For scripts: where to `ip netns exec`, and what to reach.
fn document(record: &LabRecord) -> Result<Value, CommandError> {
    let mut nodes = Vec::new();
    for node in &record.nodes {
        let mut pods = Vec::new();
        for pod in &node.pods {
            pods.push(json!({ "netns": pod.netns, "addresses": pod.addresses()? }));
        }
        nodes.push(json!({ "name": node.name, "netns": node.netns, "pods": pods }));
    }
    Ok(json!({ "lab": record.name, "nodes": nodes }))
}

/// For people.
fn words(record: &LabRecord, file: &RangeFile) -> String {
    let clusters: Vec<String> = file.cluster_cidrs.iter().map(ToString::to_string).collect();
    let nodes = record.nodes.len();
    let pods = record.nodes.first().map_or(0, |node| node.pods.len());
    let mut text = format!(
        "lab {}: {nodes} {} with {pods} {} each in {}\n",
        record.name,
        if nodes == 1 { "node" } else { "nodes" },
        if pods == 1 { "pod" } else { "pods" },
        clusters.join(" and "),
    );
    let node = record.nodes.first().map_or("", |node| node.netns.as_str());
    let rows = [
        (hint("matrix", &record.name), "who reaches whom"),
        (format!("ip netns exec {node} ip route"), "look around in a node"),
        (hint("down", &record.name), "remove all of it"),
    ];
    let width = rows.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, meaning) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {command:<width$}  {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_to_go_on() {
        let file = addresses::range_file(3, 2, true).unwrap();
        let name: Name = "x".parse().unwrap();
        let record = LabRecord::plan(&name, &file, 2, "/f".into(), json!({}));
        assert_eq!(
            words(&record, &file),
            "lab x: 3 nodes with 2 pods each in 10.244.0.0/16 and fd00:10:244::/56\n  \
             flatnet lab matrix --name x      who reaches whom\n  \
             ip netns exec x-node-1 ip route  look around in a node\n  \
             flatnet lab down --name x        remove all of it\n"
        );
        assert_eq!(hint("down", &"lab".parse().unwrap()), "flatnet lab down");
    }
}
