//! A runtime's call in one line, for the log.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use flatnet_conf::{Invocation, NetworkConf};

/// What was called for whom, what came of it and how long it took. Reads as words and splits as
/// `key=value`.
pub struct Summary<'a> {
    /// The call.
    pub invocation: &'a Invocation,
    /// The network.
    pub conf: &'a NetworkConf,
    /// What the attachment got (ADD), or what was given back (DEL, GC).
    pub addresses: &'a [IpAddr],
    /// From the configuration's being read to the result.
    pub took: Duration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invocation, conf, addresses, took } = self;
        write!(f, "{} network={}", invocation.command.as_str(), conf.name)?;
        if !invocation.container_id.is_empty() {
            write!(f, " container={} ifname={}", invocation.container_id, invocation.ifname)?;
        }
        let args = &invocation.args;
        if let Some(name) = &args.pod_name {
            let namespace = args.pod_namespace.as_deref().unwrap_or_default();
            write!(f, " pod={}", Word(&format!("{namespace}/{name}")))?;
        }
        for (index, address) in addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { " addresses=" } else { "," })?;
        }
        write!(f, " ms={:.2}", took.as_secs_f64() * 1e3)
    }
}

/// Quoted where it would not be one word: a pod's name comes from outside.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_graphic() && c != '=' && c != '"';
        if self.0.chars().all(plain) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(variables: &[(&str, &str)], addresses: &[&str]) -> String {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        };
        let invocation = Invocation::from_env(get).unwrap();
        let input = br#"{"cniVersion":"1.1.0","name":"pods","type":"flatnet","rangeFile":"/r",
            "cni.dev/valid-attachments":[]}"#;
        let conf = NetworkConf::parse(input, &invocation).unwrap();
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let took = Duration::from_micros(1234);
        Summary { invocation: &invocation, conf: &conf, addresses: &addresses, took }.to_string()
    }

    #[test]
    fn one_line_says_it_all() {
        let mut variables = vec![
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/p"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"),
        ];
        assert_eq!(
            line(&variables, &["10.244.1.1", "fd00::1"]),
            "ADD network=pods container=c1 ifname=eth0 pod=default/web \
             addresses=10.244.1.1,fd00::1 ms=1.23"
        );
        variables[5].1 = "K8S_POD_NAME=web addresses=1.2.3.4";
        assert_eq!(
            line(&variables, &[]),
            "ADD network=pods container=c1 ifname=eth0 pod=\"/web addresses=1.2.3.4\" ms=1.23"
        );
        let gc = [("CNI_COMMAND", "GC"), ("CNI_PATH", "/opt/cni/bin")];
        assert_eq!(line(&gc, &["10.244.1.1"]), "GC network=pods addresses=10.244.1.1 ms=1.23");
    }
}
