//! The fast path is configured and not there, or not whole: packets go the usual way, which is slower and nothing else.
//! What the plan of a sync says of it is told here, not as drift.

use super::scene::Scene;
use crate::cli::finding::{Finding, some};
use crate::error::Error;
use crate::kernel::{Change, Filters, Hook, Kernel, KernelError, Observe as _};
use crate::overlay::fast_path::{Entrance, LIBERAL, Obstacle, Report, Stands, Unfit, is_wanted};

const SLOWER: &str = "packets go the usual way, which is slower";
/// What switches it off where it cannot be.
const OFF: &str =
    "\"fastPath\": false in this node's configuration says that it is not wanted here";

/// Whether a change of a plan is about the fast path.
pub fn is_about(change: &Change) -> bool {
    matches!(
        change,
        Change::AddClsact | Change::DelClsact | Change::PutFilter(_) | Change::DelFilter(_)
    )
}

/// Whether one that is only in words is.
pub fn are_about(words: &str) -> bool {
    ["fast path", "fast-path-", LIBERAL].into_iter().any(|part| words.contains(part))
}

/// Looks at the overlay's device, its programs, and every pod's.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    // Another finding, without which there is nothing.
    let Some(overlay) = scene.overlay.clone().filter(|_| !scene.clash) else {
        return Ok(Vec::new());
    };
    let wanted = is_wanted(scene.conf);
    let plan = Plan::of(scene, &overlay.dev.name);
    if !wanted {
        return Ok(plan.left_behind(&scene.sync).into_iter().collect());
    }
    let vni = scene.look.site.vni();
    let kernel = &mut scene.look.kernel;
    let report = Report::of(kernel, scene.conf, vni)?;
    let name = &overlay.dev.name;
    let mut findings = Vec::new();
    match (&report.stands, &report.obstacle) {
        (None, Some(obstacle)) => return Ok(vec![judge(name, obstacle)]),
        (None, None) => {
            return Ok(vec![missing(name, &kernel.filters(overlay.dev.index)?, &scene.sync)]);
        }
        (Some(stands), _) => {
            findings.extend(no_uplink(name, stands));
            findings.extend(closed(stands));
            findings.extend(strict(kernel, &scene.sync)?);
        }
    }
    let policies = kernel.has_ipsec()?;
    findings.extend(plan.not_whole(policies, &scene.sync));
    findings.extend(limited(scene)?);
    Ok(findings)
}

/// What a sync would change of it.
struct Plan {
    rule: bool,
    /// Devices that lack filters of ours.
    lacking: Vec<String>,
    /// Those that have some and should not.
    stale: Vec<String>,
    /// Uplinks at which packets are unwrapped and should not be.
    closing: Vec<String>,
}

impl Plan {
    fn of(scene: &Scene<'_>, overlay: &str) -> Self {
        let changes = &scene.look.drift.changes;
        let (mut lacking, mut stale, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for (dev, change) in changes.changes() {
            let list: &mut Vec<String> = match change {
                Change::AddClsact | Change::PutFilter(_) => &mut lacking,
                Change::DelFilter(Hook::Uplink(_)) => &mut closing,
                Change::DelClsact | Change::DelFilter(_) => &mut stale,
                _ => continue,
            };
            if !list.iter().any(|known| known == dev) {
                list.push(dev.to_owned());
            }
        }
        // The overlay's first: without it all others are idle.
        stale.sort_by_key(|dev| dev != overlay);
        // Its place goes with it.
        stale.retain(|dev| !closing.contains(dev));
        let rule = changes.others().any(|words| words.contains("fast-path-"));
        Self { rule, lacking, stale, closing }
    }

    /// It is switched off, and something of it is still there.
    fn left_behind(&self, sync: &str) -> Option<Finding> {
        let left = [&self.stale[..], &self.closing].concat();
        let what =
            format!("the fast path is switched off, and its filters are still on {}", some(&left));
        let why = "packets of running flows may pass the network stack by";
        (!left.is_empty()).then(|| Finding::run(what, why, sync))
    }

    /// `policies` says whether there are IPsec policies.
    fn not_whole(&self, policies: bool, sync: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.rule {
            findings.push(Finding::run(
                "the rule by which the fast path learns is not there or not as it should be: chain fast-path-VNI of \
                 table inet flatnet",
                format!("no flow is learned: {SLOWER}"),
                sync,
            ));
        }
        if !self.lacking.is_empty() {
            let what = format!("filters of the fast path are missing on {}", some(&self.lacking));
            findings.push(Finding::run(what, SLOWER, sync));
        }
        if !self.closing.is_empty() {
            findings.push(Finding::run(
                format!("the fast path still unwraps packets at {}", some(&self.closing)),
                "it is not wanted there, or the device has changed",
                sync,
            ));
        }
        if !self.stale.is_empty() {
            let (beside, passed) = if policies {
                ("although there are IPsec policies (ip xfrm policy)", "these")
            } else {
                ("where another program shapes or filters packets", "what that program does")
            };
            findings.push(Finding::run(
                format!("the fast path is on {}, {beside}", some(&self.stale)),
                format!("packets pass {passed} by"),
                sync,
            ));
        }
        findings
    }
}

fn judge(dev: &str, obstacle: &Obstacle) -> Finding {
    let what = format!("there is no fast path on {dev}: {obstacle}");
    let mend = match obstacle {
        Obstacle::Ipsec => format!(
            "what takes the fast path would leave unencrypted: it stays off while there is any policy; {OFF}"
        ),
        Obstacle::Shaped(_) => format!(
            "remove it if nobody needs it (`tc qdisc show dev {dev}`), then `flatnet sync`; {OFF}"
        ),
        Obstacle::Foreign(_) => format!(
            "have that program choose another preference than 65535 (`tc filter show dev {dev} ingress`, egress), \
             then `flatnet sync`; {OFF}"
        ),
        Obstacle::Refused(words) => refused(words),
    };
    Finding::advise(what, SLOWER, mend)
}

/// What the kernel's refusal means.
fn refused(words: &str) -> String {
    let means = |errno: nix::errno::Errno| words.contains(errno.desc());
    let need = if means(nix::errno::Errno::ENOSYS) {
        "run a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and CONFIG_NET_CLS_ACT".to_owned()
    } else if means(nix::errno::Errno::EPERM) || means(nix::errno::Errno::EACCES) {
        "run flatnet with CAP_BPF and CAP_NET_ADMIN, in no container whose seccomp profile refuses bpf(2)".to_owned()
    } else {
        format!("run Linux 5.13 or later; this is {}", release())
    };
    format!("{need}; {OFF}")
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
}

/// Nothing is in the way.
fn missing(dev: &str, filters: &Filters, sync: &str) -> Finding {
    let standing = filters.standing.iter().flatten().find(|standing| standing.is_ours());
    match standing {
        Some(older) if filters.programs(true).is_some() => Finding::run(
            format!("the fast path on {dev} is another version's of flatnet: {}", older.name),
            "what this version does better, it does not; new pods have none",
            sync,
        ),
        _ => Finding::run(format!("there is no fast path on {dev}"), SLOWER, sync),
    }
}

fn no_uplink(dev: &str, stands: &Stands) -> Option<Finding> {
    stands.uplinks.is_empty().then(|| {
        Finding::advise(
            format!("the fast path to other nodes ends at {dev}: no device toward them is an Ethernet device outside a VRF"),
            "packets to other nodes gain less than they could; those between pods of this node do not suffer",
            "give the nodes VTEPs on an Ethernet device, or leave it: nothing is wrong",
        )
    })
}

/// Uplinks at which packets are not unwrapped, which is wanted.
fn closed(stands: &Stands) -> Vec<Finding> {
    let unfit = stands.entrances.iter().filter_map(|(dev, entrance)| match entrance {
        Entrance::Unfit(why) => Some((dev, why)),
        // What is missing the plan tells.
        Entrance::Open | Entrance::Missing => None,
    });
    let finding = |(dev, why): (&String, &Unfit)| {
        let mend = match why {
            Unfit::Occupied(_) => format!(
                "see who has put it there (`tc qdisc show dev {dev}`, `tc filter show dev {dev} ingress`), take it away if \
                 nobody needs it, then `flatnet sync`; else \"fastPath\": true"
            ),
            _ => "\"fastPath\": true in this node's configuration says that it is not wanted here"
                .to_owned(),
        };
        Finding::advise(
            format!("packets of the fast path are not unwrapped at {dev}: {why}"),
            "the overlay's device unwraps them, which is slower, and nothing else",
            mend,
        )
    };
    unfit.map(finding).collect()
}

/// Whether conntrack takes packets for invalid between which it has missed some.
fn strict(kernel: &mut dyn Kernel, sync: &str) -> Result<Option<Finding>, KernelError> {
    let strict = kernel.sysctl(LIBERAL)?.is_some_and(|value| value == "0");
    let what = format!("{LIBERAL} is 0: another program has set it back");
    let why = "conntrack misses packets that take the fast path: where a rule drops what it calls invalid, TCP \
               connections hang";
    Ok(strict.then(|| Finding::run(what.replace('/', "."), why, sync)))
}

/// Pods whose packets another program limits, or counts.
fn limited(scene: &mut Scene<'_>) -> Result<Option<Finding>, Error> {
    let listing = scene.look.attachments(scene.conf)?;
    let kernel = &mut scene.look.kernel;
    let mut pods = Vec::new();
    for lease in &listing.leases {
        let holder = &lease.attachment;
        let Some(link) = kernel.link(&holder.veth)? else { continue };
        let filters = kernel.filters(link.dev.index)?;
        match Obstacle::on_device(&filters) {
            // A sync takes it away.
            Some(_) if filters.programs(true).is_some() => {}
            Some(Obstacle::Shaped(kind)) => {
                pods.push(format!("{holder} ({kind} on {})", holder.veth))
            }
            Some(obstacle) => pods.push(format!("{holder} ({obstacle}: {})", holder.veth)),
            None if holder.is_shaped => pods.push(format!("{holder} (bandwidth)")),
            None => {}
        }
    }
    let what = format!(
        "pods without the fast path, as another program shapes or filters what they send: {}",
        some(&pods)
    );
    Ok((!pods.is_empty()).then(|| {
        Finding::advise(
            what,
            format!("their {SLOWER}; a limit is kept by that way only"),
            "to give such a pod the fast path, take its limit or the other program's filter away and make the pod anew; \
             else leave it",
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Mend;
    use crate::kernel::Standing;

    fn advice(words: &str) -> String {
        match judge("flat.7", &Obstacle::Refused(words.into())).mend {
            Mend::Do(advice) => advice,
            Mend::Run(command) => panic!("{command}"),
        }
    }

    #[test]
    fn what_the_kernel_refuses_says_what_is_needed() {
        assert!(
            advice("bpf: make the map flows: Function not implemented")
                .contains("CONFIG_BPF_SYSCALL")
        );
        assert!(advice("bpf: make the map flows: Operation not permitted").contains("CAP_BPF"));
        assert!(advice("bpf: load the program hit: Invalid argument").contains("Linux 5.13"));
    }

    #[test]
    fn programs_of_another_version_are_named() {
        let standing = ["flatnet-hit-0", "flatnet-learn-0"]
            .map(|name| Some(Standing { name: name.into(), program: 3 }));
        let filters = Filters { clsact: true, standing, ..Filters::default() };
        let found = missing("flat.7", &filters, "flatnet sync");
        assert!(
            found.what.ends_with("is another version's of flatnet: flatnet-hit-0"),
            "{found:?}"
        );
        assert_eq!(found.mend, Mend::Run("flatnet sync".into()));
        let found = missing("flat.7", &Filters::default(), "flatnet sync");
        assert_eq!(found.what, "there is no fast path on flat.7");
    }
}
