//! Extensions of iptables by their names: those that ask for a part of all packets, and what
//! becomes of a packet under a target. nf_tables keeps them under the same names as x_tables.

use super::foreign_chains::{Asks, End};

/// What comes from and goes to anywhere: protocols, ports, marks, rates.
const PART: &str = "addrtype ah connbytes connlimit connmark dccp dscp ecn esp hashlimit helper hl icmp \
    icmp6 length limit mac mark multiport physdev pkttype policy quota sctp statistic tcp tcpmss tos ttl \
    udp udplite";

/// Targets behind which the packet goes on to the next rule.
const CONTINUES: &str = "AUDIT CHECKSUM CLASSIFY CONNMARK CONNSECMARK CT DSCP HL LED LOG MARK NFLOG \
    NOTRACK RATEEST SECMARK SET TCPMSS TOS TRACE TTL";

/// What an extension asks that is not looked into.
pub(super) fn extension(name: &str) -> Asks {
    let shown = format!("-m {name}");
    if is_one(PART, name) { Asks::Some(shown) } else { Asks::Unknown(shown) }
}

/// What a target that is no chain does.
pub(super) fn target(name: &str) -> End {
    match name {
        "ACCEPT" => End::Accept,
        "DROP" => End::Drop,
        "REJECT" => End::Reject,
        "RETURN" => End::Return,
        name if is_one(CONTINUES, name) => End::Continue,
        name => End::Unknown(format!("-j {name}")),
    }
}

fn is_one(names: &str, name: &str) -> bool {
    names.split(' ').any(|one| one == name)
}
