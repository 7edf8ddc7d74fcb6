//! `flatnet lab down`: removes all that the record names and that bears the lab's mark, whether
//! `up` came to its end or was killed.

use super::folder::{Folder, Root};
use super::name::Name;
use super::record::LabRecord;
use super::runtime::Runtime;
use super::{namespace, namespace_folder};
use crate::cli::error::CommandError;
use crate::cli::output::{Answer, Outcome, complain};
use crate::cli::progress::Progress;

/// Removes the lab. That there is none is a finding, as with other commands that delete.
pub fn run(name: &Name) -> Result<Answer, CommandError> {
    let folder = Folder::of(name);
    if !folder.exists() {
        return Err(CommandError::Finding(format!("there is no lab {name}")));
    }
    let _lock = folder.lock()?;
    let record = folder.load()?;
    let failures = remove(&folder, record.as_ref());
    for failure in &failures {
        complain(failure);
    }
    if folder.exists() {
        return Err(CommandError::Refused(format!("lab {name} is not all gone; run this again")));
    }
    let outcome = if failures.is_empty() { Outcome::Fine } else { Outcome::Finding };
    Ok(Answer { text: format!("lab {name} is gone\n"), outcome })
}

/// Removes what there is of a lab, goes on past failures, and tells them. The folder with the
/// record goes last, and only if nothing is left that it has to name.
pub fn remove(folder: &Folder, record: Option<&LabRecord>) -> Vec<CommandError> {
    let mut failures = Vec::new();
    if let Some(record) = record {
        detach(record, &mut failures);
        let mut stays = false;
        for netns in record.namespaces() {
            if let Err(error) = namespace::remove(&record.name, netns) {
                stays |= !matches!(error, CommandError::Refused(_));
                failures.push(error);
            }
        }
        if stays {
            return failures;
        }
    }
    failures.extend(folder.remove().err());
    failures.extend(leave().err());
    failures
}

/// DEL for each pod that has a namespace; a pod without one was never attached, or `down` has been
/// here before.
fn detach(record: &LabRecord, failures: &mut Vec<CommandError>) {
    let runtime = Runtime::new(record);
    let pods = record.nodes.iter().map(|node| node.pods.len()).sum();
    let mut progress = Progress::new("removing pod", pods);
    for node in &record.nodes {
        match namespace::find(&record.name, &node.netns) {
            Ok(Some(netns)) => {
                for pod in &node.pods {
                    match namespace::find(&record.name, &pod.netns) {
                        Ok(Some(_)) => failures.extend(runtime.del(&netns, pod).err()),
                        Ok(None) => {}
                        Err(error) => failures.push(error),
                    }
                    progress.step();
                }
            }
            // No node, no attachment.
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
}

/// After the last lab, puts back what labs share.
fn leave() -> Result<(), CommandError> {
    let lock = Root::lock()?;
    if Root::is_empty() {
        namespace_folder::release()?;
        Root::remove_if_empty();
    }
    drop(lock);
    Ok(())
}
