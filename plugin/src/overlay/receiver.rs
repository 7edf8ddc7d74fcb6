//! Whether the network's VXLAN device can be had: the kernel has one for each VNI and port, and one
//! receiver for each UDP port.

use nix::errno::Errno;

use crate::error::{Clash, Error};
use crate::identity::{trial_name, veth_group, vtep_mac};
use crate::kernel::{Kernel, KernelError, Link, LinkKind, Observe, Vxlan, VxlanLink};
use crate::overlay::reconcile::{DevicePlan, OTHER_VNI, plan_device};

/// Looks whether anything is in the way of the device, as far as that can be seen; changes nothing.
/// Other programs, and VXLAN devices in other namespaces that were made in this one, show only when
/// the device is switched on.
///
/// # Errors
/// Code 104 with what is in the way; 103 if the kernel cannot be asked.
pub fn survey(kernel: &mut dyn Observe, want: &VxlanLink, alias: &str) -> Result<(), Error> {
    let found = kernel.link(&want.name)?;
    match plan_device(want, alias, found.as_ref()) {
        DevicePlan::Foreign(clash) => return Err(clash.into()),
        // It has the VNI and the port.
        DevicePlan::Keep if found.is_some_and(|link| link.up) => return Ok(()),
        _ => {}
    }
    let others = kernel.vxlans()?;
    match has_vni(&others, want).or_else(|| has_port(&others, want)) {
        Some(clash) => Err(clash.into()),
        None => Ok(()),
    }
}

/// Tries out whether the kernel lets the device be made and have its port, while the one that it is to
/// take the place of still stands. Where both have one receiver there is nothing to try.
///
/// # Errors
/// Another device has its VNI, or something else its port (104), or the kernel refuses (103).
pub fn try_out(kernel: &mut dyn Kernel, want: &VxlanLink, old: &Link) -> Result<(), Error> {
    if matches!(&old.kind, LinkKind::Vxlan(old) if old.meets(&want.vxlan)) {
        return Ok(());
    }
    let name = trial_name(want.vxlan.vni);
    // In the group of the network's pods: the rules take nothing from there that is not routed back to
    // it, and nothing is. So for this moment, too, no outsider injects.
    let group = veth_group(want.vxlan.vni);
    let outcome = kernel.try_vxlan(&VxlanLink { name, group, ..want.clone() });
    outcome.map_err(|e| explain(kernel.observing(), e.into(), want))
}

/// Removes what a trial left that was killed.
///
/// # Errors
/// The kernel refuses.
pub fn end_trial(kernel: &mut dyn Kernel, vni: u32) -> Result<(), KernelError> {
    let name = trial_name(vni);
    let ours = kernel.link(&name)?.is_some_and(|link| match link.kind {
        LinkKind::Vxlan(Vxlan { local: Some(local), .. }) => link.mac == Some(vtep_mac(vni, local)),
        _ => false,
    });
    if ours {
        kernel.delete_link(&name)?;
    }
    Ok(())
}

/// Says who has the VNI or the port, where that is why the device could not be made or switched on.
pub fn explain(kernel: &mut dyn Observe, error: Error, want: &VxlanLink) -> Error {
    let Error::Kernel(refusal) = &error else { return error };
    let taken = match refusal.errno() {
        Some(Errno::EEXIST) => {
            let others = kernel.vxlans().unwrap_or_default();
            has_vni(&others, want).or_else(|| hidden(refusal, want))
        }
        // Switching the device on binds the UDP port.
        Some(Errno::EADDRINUSE) => {
            let port = want.vxlan.port;
            let others = kernel.vxlans().unwrap_or_default();
            let program = format!(
                "another program (ss -ulpn sport = :{port}) or by a VXLAN device that was made here and is in \
                 another network namespace (flatnet doctor finds it)"
            );
            has_port(&others, want)
                .or_else(|| Some(port_taken(port, &program, "end that one".into())))
        }
        _ => None,
    };
    taken.map_or(error, Error::from)
}

/// The parameters of VXLAN devices other than the wanted one.
fn others<'a>(links: &'a [Link], want: &VxlanLink) -> impl Iterator<Item = (&'a Link, &'a Vxlan)> {
    let name = want.name.clone();
    let others = links.iter().filter(move |link| link.dev.name != name);
    others.filter_map(|link| match &link.kind {
        LinkKind::Vxlan(vxlan) => Some((link, vxlan)),
        _ => None,
    })
}

/// Who has the VNI on the port (`vxlan_config_validate` in the kernel)?
pub fn rival<'a>(links: &'a [Link], want: &VxlanLink) -> Option<&'a Link> {
    let ours = &want.vxlan;
    let same = |theirs: &Vxlan| {
        theirs.vni == ours.vni && theirs.special == ours.special && theirs.meets(ours)
    };
    others(links, want).find(|(_, theirs)| same(theirs)).map(|(link, _)| link)
}

fn has_vni(links: &[Link], want: &VxlanLink) -> Option<Clash> {
    let name = &rival(links, want)?.dev.name;
    let Vxlan { vni, port, .. } = want.vxlan;
    let what = format!("the VXLAN device {name} already has VNI {vni} (UDP port {port})");
    Some(Clash::new(what, OTHER_VNI, format!("remove that device (ip link del {name})")))
}

/// One that is not in this namespace: the kernel counts a device where it was made.
fn hidden(refusal: &KernelError, want: &VxlanLink) -> Option<Clash> {
    // Of `vxlan_vni_in_use` in the kernel; what else may be there already has other words.
    const WORDS: &str = "A VXLAN device with the specified VNI already exists";
    let vni = want.vxlan.vni;
    refusal.to_string().contains(WORDS).then(|| {
        let what = format!(
            "a VXLAN device that was made on this node and is in another network namespace now has VNI \
             {vni}, as those of Docker's overlay networks are (docker network ls; flatnet doctor finds it)"
        );
        Clash::new(what, OTHER_VNI, "remove that device")
    })
}

/// Which VXLAN device has the port? They share it if they receive alike; else the first one up has it.
pub fn holder<'a>(links: &'a [Link], want: &VxlanLink) -> Option<&'a Link> {
    let ours = &want.vxlan;
    let keeps = |theirs: &Vxlan| theirs.special != ours.special && theirs.meets(ours);
    let mut others = others(links, want);
    others.find(|(link, theirs)| link.up && keeps(theirs)).map(|(link, _)| link)
}

fn has_port(links: &[Link], want: &VxlanLink) -> Option<Clash> {
    let name = &holder(links, want)?.dev.name;
    let who = format!("the VXLAN device {name}, with other options (ip -d link show {name})");
    Some(port_taken(want.vxlan.port, &who, format!("remove that device (ip link del {name})")))
}

fn port_taken(port: u16, holder: &str, or: String) -> Clash {
    let what = format!("UDP port {port} is taken by {holder}");
    Clash::new(what, "give this network another port", or)
}

#[cfg(test)]
mod tests;
