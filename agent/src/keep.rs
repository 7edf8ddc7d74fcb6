//! The node kept as its range file says, in a thread beside the loop: the kernel is spoken to without an async
//! runtime, and a look at thousands of peers must not keep the loop from being heard.

use std::convert::Infallible;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use flatnet::upkeep::{LastRead, Upkeep};
use flatnet_conf::NetworkConf;
use tokio::sync::mpsc::Sender;

/// After an upkeep that cannot go on, the next begins.
const AGAIN: Duration = Duration::from_secs(5);

/// What came of a look at the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many changes put right what had stood, beside those that a new range file brought; or why it does not stand.
    pub outcome: Result<usize, String>,
    /// What could not be looked at or put right, or is to be warned of, although the network stands.
    pub problems: Vec<String>,
    /// Whether all of it was looked at.
    pub whole: bool,
    /// How long it took.
    pub took: Duration,
}

/// Starts it, in the calling thread's network namespace; it ends with the process, or when nothing listens to
/// its reports any more. `last` is the range file as this process wrote it last.
///
/// # Errors
/// There can be no thread.
pub fn start(conf: NetworkConf, last: LastRead, reports: Sender<Report>) -> io::Result<()> {
    let keep = move || {
        loop {
            let Err(error) = keep(&conf, &last, &reports);
            let outcome = Err(format!("the upkeep stopped: {error}"));
            let (problems, whole, took) = (Vec::new(), false, Duration::ZERO);
            if reports.blocking_send(Report { outcome, problems, whole, took }).is_err() {
                return;
            }
            thread::sleep(AGAIN);
        }
    };
    thread::Builder::new().name("upkeep".into()).spawn(keep).map(drop)
}

fn keep(conf: &NetworkConf, last: &LastRead, reports: &Sender<Report>) -> io::Result<Infallible> {
    let mut upkeep = Upkeep::knowing(last.clone())?;
    loop {
        if upkeep.wants_configurations() {
            upkeep.tend(vec![conf.clone()], Vec::new())?;
        }
        let mut heard = true;
        let begun = Instant::now();
        upkeep.look(&mut |_, _| {}, &mut |looked| {
            let (outcome, problems) = match looked.outcome {
                Ok(report) => {
                    report.log(&looked.network.name);
                    let problems = report.problems.iter().chain(&report.warnings).cloned();
                    (Ok(report.mended()), problems.collect())
                }
                Err(error) => (Err(error.to_string()), Vec::new()),
            };
            let report = Report { outcome, problems, whole: looked.whole, took: begun.elapsed() };
            heard &= reports.blocking_send(report).is_ok();
        });
        if !heard {
            return Err(io::Error::other("nobody listens"));
        }
        upkeep.wait()?;
    }
}
