//! What carries a host's address on the underlay: the end of a cable, or a device on top of it, as
//! clouds, racks and offices have them. All but the cable need a kernel with such devices.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use crate::cluster::UNDERLAY;
use crate::kernel;
use crate::netns::Netns;
use crate::program::{command, finish, said};
use crate::wait::wait_for;

/// The last parts of the addresses that a host can have whose peers must know it beforehand.
const HOSTS: [u8; 4] = [1, 2, 3, 200];
/// The key of every MACsec association.
const MACSEC_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// The private and the public key of each of `HOSTS`.
static WIREGUARD_KEYS: LazyLock<[(u8, String, String); 4]> = LazyLock::new(|| {
    HOSTS.map(|n| {
        let private = wg("genkey", "");
        let public = wg("pubkey", &private);
        (n, private, public)
    })
});

/// The device that has a host's address on the underlay.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The end of the cable.
    Cable,
    /// A VLAN of a bond of two cables.
    VlanOfBond,
    /// WireGuard: every host knows the keys of all.
    WireGuard,
    /// The end of the cable, in a VRF with a table of its own.
    Vrf,
    /// MACsec: every host knows the key of all.
    Macsec,
    /// An ipvlan of the cable's end.
    Ipvlan,
}

impl Carrier {
    /// The name of the device.
    pub fn device(self) -> &'static str {
        match self {
            Self::Cable | Self::Vrf => UNDERLAY,
            Self::VlanOfBond => "bond0.50",
            Self::WireGuard => "wg0",
            Self::Macsec => "macsec0",
            Self::Ipvlan => "ipvl0",
        }
    }

    /// What carries the address of a host that is no node: a VRF is a node's own affair.
    pub fn of_outsider(self) -> Self {
        if self == Self::Vrf { Self::Cable } else { self }
    }

    /// Gives a host this address, on cables from its own `UNDERLAY` to the bridge's port `name`. It is
    /// usable when this returns.
    pub fn connect(self, host: &Netns, underlay: &Netns, name: &str, mtu: u32, address: IpAddr) {
        cable(host, underlay, name, UNDERLAY, mtu);
        match self {
            Self::Cable => {}
            Self::VlanOfBond => {
                cable(host, underlay, &format!("{name}-2"), "under1", mtu);
                host.exec(&format!("ip link add bond0 mtu {mtu} type bond mode active-backup"));
                for end in [UNDERLAY, "under1"] {
                    // Linux 6.1 sends multicast listener reports by an end that is not in use, from the
                    // bond's MAC: the bridge would then look for the bond there.
                    kernel::set_sysctl(host, &format!("ipv6/conf/{end}/disable_ipv6"), "1");
                    host.exec(&format!("ip link set {end} master bond0"));
                }
                up(host, "bond0");
                // Which end it takes first is chance; the bridge forwards for either only once it is up.
                host.exec(&format!("ip link set bond0 type bond primary {UNDERLAY}"));
                kernel::wait_until_up(underlay, &format!("{name}-2"));
                host.exec("ip link add link bond0 name bond0.50 type vlan id 50");
            }
            Self::WireGuard => wireguard(host, address),
            Self::Vrf => {
                host.exec("ip link add vrf0 type vrf table 50");
                host.exec("ip link set vrf0 up");
                host.exec(&format!("ip link set {UNDERLAY} master vrf0"));
            }
            Self::Macsec => macsec(host, last(address)),
            Self::Ipvlan => {
                host.exec(&format!("ip link add link {UNDERLAY} ipvl0 type ipvlan mode l2"));
            }
        }
        let device = self.device();
        give(host, device, address);
        for device in BTreeSet::from([UNDERLAY, device]) {
            up(host, device);
        }
        // Until the kernel has reported the port as up, the bridge does not forward for it. Of WireGuard
        // it never says so.
        kernel::wait_until_up(underlay, name);
        kernel::wait_until_up(host, if self == Self::WireGuard { UNDERLAY } else { device });
        // Even without duplicate address detection the kernel makes an IPv6 address its own in a queue, and drops what
        // comes before that. A VRF has tables of its own.
        if address.is_ipv6() && self != Self::Vrf {
            let way = || host.exec(&format!("ip route get {address}"));
            wait_for("the host's own address", || way().starts_with("local ").then_some(()));
        }
    }
}

/// A cable from the bridge's port `name` to the device `end` of a host, which is down.
fn cable(host: &Netns, underlay: &Netns, name: &str, end: &str, mtu: u32) {
    let inside = host.name();
    underlay.exec(&format!(
        "ip link add {name} mtu {mtu} type veth peer name {end} mtu {mtu} netns {inside}"
    ));
    underlay.exec(&format!("ip link set {name} master br0 up"));
}

/// Switches a device on. It gets no link-local address, whose detection would change the node under a
/// test's eyes; Linux 6.1 heeds an `addrgenmode none` of the same message too late.
fn up(host: &Netns, device: &str) {
    kernel::set_sysctl(host, &format!("ipv6/conf/{device}/addr_gen_mode"), "1");
    host.exec(&format!("ip link set {device} up"));
}

/// Without duplicate address detection an IPv6 address is usable at once.
fn give(host: &Netns, device: &str, address: IpAddr) {
    let (prefix, nodad) = if address.is_ipv6() { (64, "nodad") } else { (24, "") };
    host.exec(&format!("ip addr add {address}/{prefix} dev {device} {nodad}"));
}

/// WireGuard as `wg-quick` would set it up, with the MTU that the kernel chooses.
fn wireguard(host: &Netns, address: IpAddr) {
    let own = last(address);
    let outer = |n: u8| -> IpAddr {
        match address {
            IpAddr::V4(_) => [192, 168, 51, n].into(),
            IpAddr::V6(_) => [0xfd00, 0x51, 0, 0, 0, 0, 0, u16::from(n)].into(),
        }
    };
    give(host, UNDERLAY, outer(own));
    host.exec("ip link add wg0 type wireguard");
    let mut configuration = String::new();
    for (n, private, public) in WIREGUARD_KEYS.iter() {
        configuration += &if *n == own {
            format!("[Interface]\nPrivateKey = {private}\nListenPort = 51820\n")
        } else {
            let endpoint = SocketAddr::from((outer(*n), 51820));
            let allowed = with_last(address, *n);
            format!("[Peer]\nPublicKey = {public}\nEndpoint = {endpoint}\nAllowedIPs = {allowed}\n")
        };
    }
    let mut set = command("wg", ["setconf", "wg0", "/dev/stdin"]);
    let output = host.finish(&mut set, configuration.as_bytes());
    assert!(output.status.success(), "{configuration}: {}", said(&output));
}

/// MACsec with the keys set by hand, as `ip macsec` does it.
fn macsec(host: &Netns, own: u8) {
    let mac = |n: u8| format!("02:00:00:00:50:{n:02x}");
    host.exec(&format!("ip link set {UNDERLAY} address {}", mac(own)));
    host.exec(&format!("ip link add link {UNDERLAY} macsec0 type macsec port 1 encrypt on"));
    host.exec(&format!("ip macsec add macsec0 tx sa 0 pn 1 on key 00 {MACSEC_KEY}"));
    for peer in HOSTS.into_iter().filter(|n| *n != own).map(mac) {
        let channel = format!("ip macsec add macsec0 rx port 1 address {peer}");
        host.exec(&channel);
        host.exec(&format!("{channel} sa 0 pn 1 on key 00 {MACSEC_KEY}"));
    }
}

/// Runs `wg VERB`; returns the line that it prints.
fn wg(verb: &str, stdin: &str) -> String {
    let output = finish(&mut command("wg", [verb]), stdin.as_bytes());
    assert!(output.status.success(), "wg {verb}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The last byte of an address.
fn last(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

/// The address with another last byte.
fn with_last(address: IpAddr, n: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            [a, b, c, n].into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = n;
            octets.into()
        }
    }
}
