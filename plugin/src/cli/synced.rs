//! One sync of one network: done, logged, and in words.

use flatnet_conf::{NetworkConf, printable};
use flatnet_ipam::Record;

use super::progress::Progress;
use crate::kernel::Mode;
use crate::logging;
use crate::upkeep::sync::{self, SyncReport, TOLD};

/// Makes one network what its range file says, and logs what that changed where the network's log is.
pub fn apply(conf: &NetworkConf) -> Result<SyncReport, crate::error::Error> {
    logging::start(conf.log_level, conf.log_file.as_deref());
    let report = run(conf, Mode::Apply)?;
    report.log(&conf.name);
    Ok(report)
}

/// With progress on a terminal where thousands of peers are new.
pub fn run(conf: &NetworkConf, mode: Mode) -> Result<SyncReport, crate::error::Error> {
    let mut progress = None;
    sync::run(conf, mode, &mut move |made, all| {
        progress.get_or_insert_with(|| Progress::new("change", all)).reach(made);
    })
}

/// `pods on node-a: 3 changes made`
pub fn summary(conf: &NetworkConf, report: &SyncReport, mode: Mode) -> String {
    let count = report.count();
    let what = match (count, mode) {
        (0, _) => "in sync".to_owned(),
        (1, Mode::Plan) => "1 change to make".into(),
        (1, Mode::Apply) => "1 change made".into(),
        (_, Mode::Plan) => format!("{count} changes to make"),
        (_, Mode::Apply) => format!("{count} changes made"),
    };
    format!("{} on {}: {what}", conf.name, report.node)
}

/// For people.
pub fn words(conf: &NetworkConf, report: &SyncReport, mode: Mode) -> String {
    let mut text = format!("{}\n", summary(conf, report, mode));
    if report.unleased > 0 {
        let ipam = conf.ipam.as_deref().unwrap_or_default();
        text += &format!("  not looked at: pods with addresses of {ipam}: {}\n", report.unleased);
    }
    for end in &report.books.unfinished {
        let name = &end.dev.name;
        text += &format!(
            "  left: {name}, of an ADD that did not come to its end; GC or DEL clears it\n"
        );
    }
    if report.count() > TOLD && mode == Mode::Apply {
        return text;
    }
    for lease in leases(report) {
        text += &format!("  {}\n", printable(&lease));
    }
    report.changes.words().for_each(|change| text += &format!("  {}\n", printable(&change)));
    for pod in &report.pods {
        text += &format!("  {}:\n", printable(&pod.to_string()));
        pod.changes.words().for_each(|change| text += &format!("    {}\n", printable(&change)));
    }
    text
}

/// The leases that were made again, or would be.
pub fn leases(report: &SyncReport) -> impl Iterator<Item = String> {
    report.books.leases.iter().map(|Record { attachment, addresses }| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("lease made again: {} of {attachment}", addresses.join(", "))
    })
}
