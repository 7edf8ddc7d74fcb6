//! Whether the kernel can do what flatnet asks of it: tried, in a network namespace that ends with
//! the trial. A list of modules would say what could be loaded, not what works.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::scene::Scene;
use crate::cli::finding::Finding;
use crate::error::Error;
use crate::identity::{overlay_group, vtep_mac};
use crate::kernel::netns::Netns;
use crate::kernel::{Kernel as _, KernelError, Netlink, RuleSet, Veth, VxlanLink};
use crate::overlay::desired::{masquerade, policy, vxlan};

/// Makes one of each object.
pub fn check(scene: &mut Scene<'_>) -> Result<Vec<Finding>, Error> {
    let site = &scene.look.site;
    let (vni, vtep) = (site.vni(), site.node.vtep);
    let link = VxlanLink {
        name: "vxlan".into(),
        mac: vtep_mac(vni, vtep),
        group: overlay_group(vni),
        mtu: scene.mtu.pods,
        vxlan: vxlan(vni, site.file().port, vtep),
    };
    let uplink = BTreeSet::from(["uplink".to_owned()]);
    let masquerade = masquerade(scene.conf);
    let policy = policy(&scene.conf.name, site.file(), &site.node, &uplink, masquerade);
    let rules = policy.rules();
    let trial = thread::scope(|scope| scope.spawn(|| trial(&link, &rules)).join());
    // A thread that panicked has told why.
    let refusals = trial.unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok(refusals.into_iter().map(|(object, error)| judge(object, &error)).collect())
}

/// What the kernel refuses, in a namespace of the calling thread, which must end after this.
fn trial(
    link: &VxlanLink,
    rules: &RuleSet,
) -> Result<Vec<(&'static Object, KernelError)>, KernelError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| KernelError::Netns {
        action: "make",
        path: Path::new("for a trial").display().to_string(),
        source: errno.into(),
    })?;
    let mut kernel = Netlink::open()?;
    let netns = Netns::own()?;
    let mac = |last| flatnet_conf::Mac([2, 0, 0, 0, 0, last]);
    let veth = Veth {
        name: "veth",
        mac: mac(1),
        group: 0,
        peer_name: "peer",
        peer_mac: mac(2),
        peer_netns: std::os::fd::AsFd::as_fd(&netns),
        mtu: link.mtu,
    };
    let tried = [
        (&VXLAN, kernel.create_vxlan(link).map(drop)),
        (&VETH, kernel.create_veth(&veth).map(drop)),
        (&RULES, kernel.put_rules(rules).map(drop)),
    ];
    Ok(tried.into_iter().filter_map(|(object, result)| Some((object, result.err()?))).collect())
}

struct Object {
    name: &'static str,
    need: &'static str,
    modules: &'static str,
}

const VXLAN: Object =
    Object { name: "VXLAN devices", need: "pods reach no other node", modules: "vxlan" };
const VETH: Object = Object { name: "veth pairs", need: "no pod can be attached", modules: "veth" };
const RULES: Object = Object {
    name: "flatnet's packet filter rules",
    need: "no pod can be attached: outsiders could send into the overlay",
    modules: "nf_tables nft_fib_inet nft_masq",
};

fn judge(object: &Object, error: &KernelError) -> Finding {
    let what = format!("the kernel cannot make {}: {error}", object.name);
    Finding::run(what, object.need, format!("modprobe -a {}", object.modules))
}
