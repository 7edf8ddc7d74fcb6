//! Addresses from another IPAM plugin, by the delegation protocol (CNI 1.1.0, section 4): found in
//! `CNI_PATH`, given the same environment and the same bytes, its standard error passed on, its
//! error handed up as it came.

use std::net::IpAddr;
use std::path::PathBuf;

use flatnet_conf::{AddResult, Range, Version};
use serde_json::Value;

use crate::attachment::executable::Executable;
use crate::error::Error;

/// An IPAM plugin that stands ready for one call of a runtime.
#[derive(Debug)]
pub struct Delegate<'a> {
    executable: Executable,
    input: &'a [u8],
}

impl<'a> Delegate<'a> {
    /// Finds the plugin of that name in the folders of `CNI_PATH`. `input` is what came on standard
    /// input.
    ///
    /// # Errors
    /// Code 7 if there is none, or if it is flatnet, which would call itself without end.
    pub fn find(name: &str, path: &[PathBuf], input: &'a [u8]) -> Result<Self, Error> {
        match Executable::find(name, path) {
            Some(executable) if executable.is_this() => Err(Error::Configuration {
                reason: format!(
                    "ipam.type: {} is flatnet itself; name an IPAM plugin, or leave ipam out to use the \
                     built-in one",
                    executable.path().display()
                ),
            }),
            Some(executable) => Ok(Self { executable, input }),
            None => {
                let folders: Vec<_> = path.iter().map(|p| p.display().to_string()).collect();
                Err(Error::Configuration {
                    reason: format!(
                        "ipam.type: no executable {name} in CNI_PATH={}; install it there, or \
                         leave ipam out to use the built-in one",
                        folders.join(":")
                    ),
                })
            }
        }
    }

    /// ADD: the addresses of this attachment. A failed one is undone by a DEL, as the
    /// specification asks, because the plugin may have got half way.
    ///
    /// # Errors
    /// The plugin's own, or that its answer cannot be read.
    pub fn add(&self, version: Version) -> Result<AddResult, Error> {
        let added = self.call("ADD").and_then(|answer| {
            let fault = |reason: String| Error::Configuration {
                reason: format!("the result of {}: {reason}", self.executable.path().display()),
            };
            let value: Value = serde_json::from_slice(&answer).map_err(|e| fault(e.to_string()))?;
            AddResult::from_json(&value, version).map_err(|e| fault(e.to_string()))
        });
        if added.is_err() {
            if let Err(e) = self.call("DEL") {
                log::warn!("undoing the failed ADD of {}: {e}", self.executable.path().display());
            }
        }
        added
    }

    /// Any other verb; its output is of no interest.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn run(&self, command: &str) -> Result<(), Error> {
        self.call(command).map(|_| ())
    }

    fn call(&self, command: &str) -> Result<Vec<u8>, Error> {
        self.executable.call(command, self.input)
    }
}

/// The addresses of a delegate's result, if pods of this node can have them.
///
/// # Errors
/// Code 7 if it gave none, two of one family, or one that the other nodes have no route for: the pod
/// would start and could not be reached.
pub fn addresses(result: &AddResult, ranges: &[Range]) -> Result<Vec<IpAddr>, Error> {
    let fault = |reason| Err(Error::Configuration { reason });
    let mut addresses: Vec<IpAddr> = result.ips.iter().map(|ip| ip.address.ip()).collect();
    // IPv4 first, as our own leases are.
    addresses.sort_by_key(IpAddr::is_ipv6);
    if addresses.is_empty() {
        return fault("the IPAM plugin gave no address".to_owned());
    }
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0].is_ipv4() == pair[1].is_ipv4()) {
        return fault(format!(
            "the IPAM plugin gave two addresses of one family, {} and {}; a pod has one of each",
            pair[0], pair[1]
        ));
    }
    let gives = |address: &IpAddr| ranges.iter().any(|range| range.gives(*address));
    if let Some(address) = addresses.iter().find(|address| !gives(address)) {
        let all: Vec<_> = ranges.iter().map(|range| range.subnet().to_string()).collect();
        return fault(format!(
            "the IPAM plugin gave {address}, which is not an address that this node gives to pods \
             ({}); no other node would send there. Let it give addresses of these ranges",
            all.join(", ")
        ));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use flatnet_conf::IpConfig;

    use super::*;

    fn result(addresses: &[&str]) -> AddResult {
        let config = |text: &&str| IpConfig {
            interface: None,
            address: text.parse().unwrap(),
            gateway: None,
        };
        AddResult { ips: addresses.iter().map(config).collect(), ..AddResult::default() }
    }

    #[test]
    fn addresses_must_be_of_this_node() {
        let ranges = ["10.1.1.0/24", "fd00:1::/64"].map(|text| Range::parse(text).unwrap());
        let given = addresses(&result(&["fd00:1::5/64", "10.1.1.5/24"]), &ranges).unwrap();
        assert_eq!(given, ["10.1.1.5", "fd00:1::5"].map(|text| text.parse::<IpAddr>().unwrap()));
        for (bad, why) in [
            (&["10.1.2.5/24"][..], "10.1.2.5, which is not an address that this node gives"),
            (&["10.1.1.0/24"], "10.1.1.0, which is not an address"),
            (&["10.1.1.5/24", "10.1.1.6/24"], "two addresses of one family"),
            (&[], "gave no address"),
        ] {
            let error = addresses(&result(bad), &ranges).unwrap_err();
            assert_eq!(error.code(), 7);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        let file = folder.join("ipam");
        // Another process writes it: what is open for writing here is so in a child that another test has just begun, too,
        // and such a file is not run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 755 "$0""#;
        let written = Command::new("sh").args(["-c", write]).arg(&file).arg(text).status();
        assert!(written.unwrap().success());
        file
    }

    #[test]
    fn a_failed_add_is_undone_and_its_error_handed_up() {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let text = format!(
            "echo $CNI_COMMAND $(cat) >> {}\n[ $CNI_COMMAND = DEL ] && exit 0\n\
             echo '{{\"code\": 11, \"msg\": \"later\", \"details\": \"d\"}}'; exit 1",
            calls.display()
        );
        script(folder.path(), &text);
        let path = [folder.path().to_owned()];
        let delegate = Delegate::find("ipam", &path, b"input").unwrap();
        match delegate.add(Version::V1_0_0).unwrap_err() {
            Error::Delegate { code: 11, message, details } => {
                assert_eq!((message.as_str(), details.as_str()), ("later", "d"));
            }
            error => panic!("{error}"),
        }
        assert_eq!(std::fs::read_to_string(calls).unwrap(), "ADD input\nDEL input\n");
    }

    #[test]
    fn what_cannot_be_run_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ipam"), "").unwrap();
        let error = Delegate::find("ipam", &[folder.path().to_owned()], b"").unwrap_err();
        assert_eq!(error.code(), 7);
        assert!(error.to_string().starts_with("ipam.type: no executable ipam in CNI_PATH="));
    }

    #[test]
    fn it_does_not_call_itself() {
        let folder = tempfile::tempdir().unwrap();
        let find = || Delegate::find("ipam", &[folder.path().to_owned()], b"");
        let this = folder.path().join("ipam");
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &this).unwrap();
        let error = find().unwrap_err();
        assert_eq!(error.code(), 7);
        assert!(error.to_string().ends_with(
            "is flatnet itself; name an IPAM plugin, or leave ipam out to use the built-in one"
        ));
        std::fs::remove_file(this).unwrap();
        script(folder.path(), "");
        find().unwrap();
    }
}
