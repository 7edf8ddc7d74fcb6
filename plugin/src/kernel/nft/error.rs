//! What can go wrong between us and nf_tables, and what the user can do about it.

use std::io;

/// Why the firewall of a network could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The netfilter socket could not be opened or used.
    #[error("cannot {action} the netfilter netlink socket: {source}{}", advice(source))]
    Socket {
        /// What was tried: `open`, `send to`, ...
        action: &'static str,
        /// The error number.
        source: io::Error,
    },
    /// A dump or a query was refused.
    #[error("cannot read {object} of nft table inet flatnet: {source}{kernel}{}", advice(source))]
    Read {
        /// What was asked for, as in `the chains`.
        object: String,
        /// The error number.
        source: io::Error,
        /// The kernel's own words (extended ACK) in parentheses, or nothing.
        kernel: String,
    },
    /// A message of a transaction was refused, so that none of it took effect.
    #[error("cannot {action} in nft table inet flatnet: {source}{kernel}{}", advice(source))]
    Change {
        /// What was tried, as in `add rule "pods: VXLAN from a pod" to chain prerouting-4096`.
        action: String,
        /// The error number.
        source: io::Error,
        /// The kernel's own words (extended ACK) in parentheses, or nothing.
        kernel: String,
    },
    /// The kernel's answer was cut short, or is no netlink message.
    #[error("the kernel's answer about {object} of nft table inet flatnet is not understood")]
    Answer {
        /// What was asked for.
        object: String,
    },
    /// Other programs changed nftables each time we looked.
    #[error(
        "nftables changed under every one of {attempts} attempts to {action} table inet flatnet: \
         find the program that keeps changing it (`nft monitor`), or try again"
    )]
    Unstable {
        /// `read` or `change`.
        action: &'static str,
        /// How many times it was tried.
        attempts: usize,
    },
}

/// What to do about an error number, as the end of a sentence. nf_tables answers ENOENT for an
/// expression whose module it cannot load, EOPNOTSUPP or EINVAL for itself, and the socket call
/// fails with EPROTONOSUPPORT when nfnetlink is missing.
fn advice(source: &io::Error) -> &'static str {
    use nix::errno::Errno;
    match source.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::ENOENT
            | Errno::EOPNOTSUPP
            | Errno::EINVAL
            | Errno::EPROTONOSUPPORT
            | Errno::EAFNOSUPPORT,
        ) => {
            "; the kernel may lack a module: modprobe -a nf_tables nft_fib_inet nft_ct nft_masq \
             nft_chain_nat"
        }
        Some(Errno::EPERM | Errno::EACCES) => {
            "; CAP_NET_ADMIN over this network namespace is needed"
        }
        Some(Errno::EBUSY) => "; something else refers to it: nft -a list table inet flatnet",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_where_why_and_what_to_do() {
        let change = |code| {
            NftError::Change {
                action: "add chain input-7".into(),
                source: io::Error::from_raw_os_error(code),
                kernel: " (no hook)".into(),
            }
            .to_string()
        };
        for (code, end) in [
            (2, "nft_chain_nat"),
            (95, "nft_chain_nat"),
            (1, "namespace is needed"),
            (16, "list table inet flatnet"),
            (12, "(no hook)"),
        ] {
            let text = change(code);
            assert!(text.starts_with("cannot add chain input-7 in nft table inet flatnet: "));
            assert!(text.contains("(no hook)"), "{text}");
            assert!(text.ends_with(end), "{text}");
        }
    }
}
