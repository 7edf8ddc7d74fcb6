//! A packet filter of another program that drops what is forwarded.

use super::finding::Finding;
use super::scene::Scene;
use crate::error::Error;
use crate::forward_policy::{Blockade, look};

/// Looks at every chain of hook forward.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let blockades = look(&mut scene.look.kernel, scene.look.site.file())?;
    Ok(blockades.iter().map(judge).collect())
}

fn judge(Blockade { chain, commands }: &Blockade) -> Finding {
    Finding::run(
        format!("{chain} has policy drop, and no rule of it accepts packets between pods"),
        "what goes to a pod or comes from one is dropped, unless a rule that flatnet does not \
         understand accepts it",
        commands.join(" && "),
    )
}
