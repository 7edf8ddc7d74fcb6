//! Tests that share a cluster: steps, one after the other, each with a name and a result as `cargo test` prints them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use crate::cluster::{Cluster, Settings};
use crate::patience::heed_signals;

/// A step with the name of its function.
pub type Step = (&'static str, fn(&mut Cluster));

/// The steps of these functions.
#[macro_export]
macro_rules! steps {
    ($($step:ident),+ $(,)?) => {
        &[$((stringify!($step), $step as fn(&mut $crate::cluster::Cluster))),+]
    };
}

/// Starts a cluster and takes all steps, also behind one that failed. With words on the command line, those whose
/// name has one of them.
pub fn take(settings: &Settings, steps: &[Step]) -> ExitCode {
    heed_signals();
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let chosen: Vec<&Step> = steps.iter().filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        return told(0, 0);
    }
    let started = Instant::now();
    let Ok(mut cluster) = catch_unwind(|| Cluster::start(settings)) else {
        println!("test a_cluster_starts ... FAILED");
        return told(0, 1);
    };
    println!("cluster {} has its nodes after {:.1?}", settings.name, started.elapsed());
    let mut failed = 0;
    for (name, step) in &chosen {
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| step(&mut cluster)));
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1?})", started.elapsed());
        failed += usize::from(result.is_err());
    }
    if failed > 0 {
        println!("logs: {}", cluster.keep_logs().display());
    }
    told(chosen.len() - failed, failed)
}

/// The line that is counted.
fn told(passed: usize, failed: usize) -> ExitCode {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
