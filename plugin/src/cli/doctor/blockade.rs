//! A packet filter of another program that drops what is forwarded, or may.

use super::scene::Scene;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::firewall::blockade::{Blockade, Fault, look};

/// Looks at every chain of hook forward.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let blockades = look(&mut scene.look.kernel, scene.look.site.file())?;
    Ok(blockades.iter().map(judge).collect())
}

fn judge(blockade: &Blockade) -> Finding {
    let (what, commands) = (blockade.what(), blockade.commands.join(" && "));
    let why = match blockade.fault {
        Fault::Policy | Fault::Rule(_) => {
            "what goes from one pod to another is dropped, but for what a rule before that accepts"
        }
        Fault::Some(_) => {
            return Finding::advise(
                what,
                "packets that the rule asks for do not arrive; others do",
                format!("if that is not meant, let pods past it: {commands}"),
            );
        }
        Fault::Unknown(_) => {
            return Finding::advise(
                what,
                "pods may not reach each other, or only some of them",
                format!(
                    "look at the rule, and try it with ping from one pod to another; this lets pods \
                     past it: {commands}"
                ),
            );
        }
    };
    Finding::run(what, why, commands)
}
