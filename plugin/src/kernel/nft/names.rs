//! The names by which a network's chains and sets are known in our table. Only what bears one of
//! them is ours to change: another network has another VNI, another program another word.

/// A network's names, whether they are in use or not.
pub(crate) struct Names {
    pub(crate) prerouting: String,
    /// An earlier version's.
    input: String,
    pub(crate) forward: String,
    pub(crate) output: String,
    pub(crate) postrouting: String,
    pub(crate) pod: String,
    pub(crate) overlay: String,
    pub(crate) path_mtu: String,
    pub(crate) local: String,
    pub(crate) user: String,
    pub(crate) program: String,
    pub(crate) landing: String,
    pub(crate) departing: String,
    pub(crate) source: String,
    pub(crate) fast_path: String,
    pub(crate) vxlan: String,
    pub(crate) vteps: String,
    pub(crate) cluster4: String,
    pub(crate) cluster6: String,
}

impl Names {
    pub(crate) fn of(vni: u32) -> Self {
        Names {
            prerouting: format!("prerouting-{vni}"),
            input: format!("input-{vni}"),
            forward: format!("forward-{vni}"),
            output: format!("output-{vni}"),
            postrouting: format!("postrouting-{vni}"),
            pod: format!("pod-{vni}"),
            overlay: format!("overlay-{vni}"),
            path_mtu: format!("path-mtu-{vni}"),
            local: format!("local-{vni}"),
            user: format!("user-{vni}"),
            program: format!("program-{vni}"),
            landing: format!("landing-{vni}"),
            departing: format!("departing-{vni}"),
            source: format!("source-{vni}"),
            fast_path: format!("fast-path-{vni}"),
            vxlan: format!("vxlan-{vni}"),
            vteps: format!("vteps-{vni}"),
            cluster4: format!("cluster4-{vni}"),
            cluster6: format!("cluster6-{vni}"),
        }
    }

    /// The VNI of the network whose set of VTEPs bears this name.
    pub(super) fn of_vteps(set: &str) -> Option<u32> {
        set.strip_prefix("vteps-")?.parse().ok()
    }

    /// The VNI of the network whose cluster set bears this name.
    pub(in crate::kernel) fn of_cluster(set: &str) -> Option<u32> {
        set.strip_prefix("cluster4-").or_else(|| set.strip_prefix("cluster6-"))?.parse().ok()
    }

    /// In the order in which they can be removed: each before those to which its rules lead.
    pub(crate) fn chains(&self) -> [&str; 16] {
        [
            &self.prerouting,
            &self.input,
            &self.landing,
            &self.forward,
            &self.fast_path,
            &self.output,
            &self.local,
            &self.departing,
            &self.postrouting,
            &self.program,
            &self.user,
            &self.vxlan,
            &self.pod,
            &self.path_mtu,
            &self.overlay,
            &self.source,
        ]
    }

    pub(crate) fn sets(&self) -> [&str; 3] {
        [&self.vteps, &self.cluster4, &self.cluster6]
    }
}
