//! What `flatnet status` knows of one network, in words.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::fast_path;
use crate::cli::capacity::short;
use crate::cli::output::Outcome;
use crate::cli::table::{Align, Table};
use crate::cli::usage::{Usage, full};
use crate::overlay::fast_path::Report;
use crate::overlay::mtu::WayMtu;

/// More peers than this are counted, not named.
const NAMED: usize = 10;

/// One network on this node.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub network: String,
    /// The node's name in the range file.
    pub node: String,
    /// The node's VTEP.
    pub vtep: IpAddr,
    /// The device that has it.
    pub uplink: Option<String>,
    /// The VRF that this is in.
    pub vrf: Option<String>,
    /// The VXLAN device.
    pub overlay: OverlayView,
    /// How large packets may be.
    pub mtu: Mtu,
    /// The range file's fingerprint.
    pub file: String,
    /// How many peers the range file has.
    pub peers: usize,
    /// Those whose entries in the kernel are not as the range file says.
    pub drifted: Vec<String>,
    /// How many changes `flatnet sync` would make.
    pub changes: usize,
    /// The node's ranges.
    pub ranges: Vec<Usage>,
    /// How many attachments have a lease.
    pub pods: usize,
    /// What takes the fast path.
    pub fast_path: Report,
    /// What could not be looked at.
    pub problems: Vec<String>,
}

/// The VXLAN device.
#[derive(Clone, Debug)]
pub struct OverlayView {
    /// Its name.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Whether it is switched on; `None` if it is not there.
    pub up: Option<bool>,
}

/// How large packets may be, in bytes, and why.
#[derive(Clone, Debug)]
pub struct Mtu {
    /// What the VXLAN device has now.
    pub stands: Option<u32>,
    /// What the configuration asks for.
    pub configured: Option<u32>,
    /// Outer headers.
    pub overhead: u32,
    /// The way that decides it, if nothing is configured.
    pub decides: WayMtu,
}

impl Mtu {
    fn should_be(&self) -> u32 {
        self.configured.unwrap_or(self.decides.mtu.saturating_sub(self.overhead))
    }

    /// `1450: under0 carries 1500 toward 192.168.50.2, less 50 bytes of outer headers`
    fn words(&self) -> String {
        let WayMtu { mtu, dev, toward } = &self.decides;
        let toward = toward.map(|peer| format!(" toward {peer}")).unwrap_or_default();
        let carried =
            format!("{dev} carries {mtu}{toward}, less {} of outer headers", self.overhead);
        let why = match self.configured {
            Some(configured) => format!("{configured}: as configured ({carried})"),
            None => format!("{}: {carried}", self.should_be()),
        };
        match self.stands {
            Some(stands) if stands != self.should_be() => format!("{stands}, should be {why}"),
            _ => why,
        }
    }
}

impl View {
    /// A finding if something has drifted, cannot be read, or is full.
    pub fn outcome(&self) -> Outcome {
        let fine = self.changes == 0 && self.problems.is_empty() && full(&self.ranges).is_empty();
        if fine { Outcome::Fine } else { Outcome::Finding }
    }

    /// For people.
    pub fn text(&self) -> String {
        let OverlayView { name, vni, port, up } = &self.overlay;
        let state = match up {
            Some(true) => "up",
            Some(false) => "down",
            None => "missing",
        };
        let uplink = self.uplink.as_deref().unwrap_or("no device of this node");
        let vrf = self.vrf.as_ref().map(|vrf| format!(" in VRF {vrf}")).unwrap_or_default();
        let mut lines = vec![
            format!("{} on {}: {}", self.network, self.node, self.sync_words()),
            format!("  overlay  {name}, {state}, VNI {vni}, UDP port {port}"),
            format!("  VTEP     {} on {uplink}{vrf}", self.vtep),
            format!("  MTU      {}", self.mtu.words()),
            format!("  file     {} (on every node that agrees)", self.file),
            format!("  peers    {}", self.peer_words()),
            format!("  pods     {}", self.pods),
        ];
        lines.extend(fast_path::lines(&self.fast_path));
        let mut table = Table::new([
            ("RANGE", Align::Left),
            ("USED", Align::Right),
            ("FREE", Align::Right),
            ("", Align::Left),
        ]);
        let full: Vec<_> = full(&self.ranges).into_iter().flatten().collect();
        for range in &self.ranges {
            let state = if full.contains(&range.subnet) { "full" } else { "" };
            let numbers = [short(range.used), short(range.free)];
            table.row([range.subnet.to_string()].into_iter().chain(numbers).chain([state.into()]));
        }
        lines.extend(table.render(None).lines().map(|line| format!("  {line}")));
        lines.join("\n") + "\n"
    }

    fn sync_words(&self) -> String {
        match self.changes {
            0 => "in sync".into(),
            1 => "drifted, 1 change to make (flatnet sync --dry-run)".into(),
            many => format!("drifted, {many} changes to make (flatnet sync --dry-run)"),
        }
    }

    fn peer_words(&self) -> String {
        if self.drifted.is_empty() {
            return format!("{}, in sync", self.peers);
        }
        let named: Vec<_> = self.drifted.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.drifted.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (drifted, names) = (self.drifted.len(), named.join(", "));
        format!("{}, {drifted} drifted: {names}{more}", self.peers)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let OverlayView { name, vni, port, up } = &self.overlay;
        let WayMtu { mtu, dev, toward } = &self.mtu.decides;
        let ranges = self.ranges.iter().map(|range| {
            let Usage { subnet, used, free } = range;
            json!({ "subnet": subnet.to_string(), "used": used, "free": free })
        });
        json!({
            "network": self.network,
            "node": self.node,
            "fingerprint": self.file,
            "changes": self.changes,
            "overlay": { "name": name, "up": up, "vni": vni, "port": port },
            "vtep": { "address": self.vtep, "device": self.uplink, "vrf": self.vrf },
            "mtu": {
                "stands": self.mtu.stands,
                "shouldBe": self.mtu.should_be(),
                "configured": self.mtu.configured,
                "overhead": self.mtu.overhead,
                "underlay": { "mtu": mtu, "device": dev, "toward": toward },
            },
            "peers": { "total": self.peers, "drifted": self.drifted },
            "ranges": ranges.collect::<Vec<_>>(),
            "pods": self.pods,
            "fastPath": fast_path::json(&self.fast_path),
            "problems": self.problems,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let decides =
            WayMtu { mtu: 1500, dev: "eth0".into(), toward: Some("192.0.2.2".parse().unwrap()) };
        View {
            network: "pods".into(),
            node: "node-a".into(),
            vtep: "192.0.2.1".parse().unwrap(),
            uplink: Some("eth0".into()),
            vrf: None,
            overlay: OverlayView { name: "flat.7".into(), vni: 7, port: 4789, up: Some(true) },
            mtu: Mtu { stands: Some(1450), configured: None, overhead: 50, decides },
            file: "0123abcd".into(),
            peers: 2,
            drifted: Vec::new(),
            changes: 0,
            ranges: vec![
                Usage { subnet: "10.1.1.0/24".parse().unwrap(), used: 3, free: 251 },
                Usage { subnet: "fd00::/64".parse().unwrap(), used: 3, free: u64::MAX - 3 },
            ],
            pods: 3,
            fast_path: Report::default(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_node_that_is_fine() {
        assert_eq!(
            view().text(),
            "pods on node-a: in sync\n\
             \x20 overlay  flat.7, up, VNI 7, UDP port 4789\n\
             \x20 VTEP     192.0.2.1 on eth0\n\
             \x20 MTU      1450: eth0 carries 1500 toward 192.0.2.2, less 50 of outer headers\n\
             \x20 file     0123abcd (on every node that agrees)\n\
             \x20 peers    2, in sync\n\
             \x20 pods     3\n\
             \x20 RANGE        USED  FREE\n\
             \x20 10.1.1.0/24     3   251\n\
             \x20 fd00::/64       3  2^64\n"
        );
        assert_eq!(view().outcome(), Outcome::Fine);
        assert_eq!(view().json()["mtu"]["shouldBe"], 1450);
    }

    #[test]
    fn what_is_wrong_shows_where_it_belongs() {
        let mut view = view();
        view.changes = 2;
        view.drifted = (1..=11).map(|n| format!("n{n}")).collect();
        view.ranges[0].free = 0;
        view.mtu.stands = Some(1400);
        view.overlay.up = None;
        view.vrf = Some("mgmt".into());
        let text = view.text();
        for words in [
            "pods on node-a: drifted, 2 changes to make (flatnet sync --dry-run)",
            "flat.7, missing, VNI",
            "192.0.2.1 on eth0 in VRF mgmt",
            "1400, should be 1450: eth0 carries",
            "peers    2, 11 drifted: n1, n2, n3, n4, n5, n6, n7, n8, n9, n10 and 1 more",
            "10.1.1.0/24     3     0  full",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(view.outcome(), Outcome::Finding);
        view.mtu.configured = Some(1400);
        assert!(view.text().contains("1400: as configured (eth0 carries 1500"), "{}", view.text());
    }
}
