//! `CNI_ARGS`: what a runtime says about one attachment beside the configuration.

use std::net::IpAddr;

use crate::address::{parse_address, parse_requested};
use crate::{Error, Mac};

/// The known keys of `CNI_ARGS` (`K=V;K=V`, the conventions document of the CNI project). An
/// empty value counts as absent; the last of a repeated key counts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CniArgs {
    /// `IP`: addresses asked for, split at commas, prefix lengths dropped.
    pub ip: Vec<IpAddr>,
    /// `MAC`: the address of the pod's interface.
    pub mac: Option<Mac>,
    /// `GATEWAY`: read for the sake of callers that set it; flatnet's gateway is fixed.
    pub gateway: Option<IpAddr>,
    /// `K8S_POD_NAMESPACE`.
    pub pod_namespace: Option<String>,
    /// `K8S_POD_NAME`.
    pub pod_name: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: Option<String>,
    /// `K8S_POD_UID`.
    pub pod_uid: Option<String>,
}

impl CniArgs {
    /// Reads the value of `CNI_ARGS`. A key that is not known is an error with code 4, unless
    /// `IgnoreUnknown` is `1` or `true`.
    pub fn parse(text: &str) -> Result<CniArgs, Error> {
        let mut args = CniArgs::default();
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::Environment(format!("CNI_ARGS: {pair:?} is not KEY=VALUE"))
            })?;
            let wrong = |problem| Error::Environment(format!("CNI_ARGS: {key}: {problem}"));
            match key {
                "IgnoreUnknown" => ignore_unknown = flag(value).map_err(wrong)?,
                "IP" => args.ip = addresses(value).map_err(wrong)?,
                "MAC" => args.mac = some(value).map(str::parse).transpose().map_err(wrong)?,
                "GATEWAY" => {
                    args.gateway = some(value).map(parse_address).transpose().map_err(wrong)?;
                }
                "K8S_POD_NAMESPACE" => args.pod_namespace = some(value).map(str::to_owned),
                "K8S_POD_NAME" => args.pod_name = some(value).map(str::to_owned),
                "K8S_POD_INFRA_CONTAINER_ID" => {
                    args.infra_container_id = some(value).map(str::to_owned);
                }
                "K8S_POD_UID" => args.pod_uid = some(value).map(str::to_owned),
                _ => unknown.push(format!("{key:?}")),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(Error::Environment(format!(
                "CNI_ARGS: unknown keys {}; add IgnoreUnknown=1 to pass them over",
                unknown.join(", ")
            )));
        }
        Ok(args)
    }
}

fn some(value: &str) -> Option<&str> {
    Some(value).filter(|value| !value.is_empty())
}

fn addresses(value: &str) -> Result<Vec<IpAddr>, String> {
    some(value).into_iter().flat_map(|value| value.split(',')).map(parse_requested).collect()
}

fn flag(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" | "" => Ok(false),
        _ => Err(format!("{value:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys() {
        let args = CniArgs::parse(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
             K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=1-2;IP=10.1.2.3,fd00::3/64;\
             MAC=02:00:00:00:00:01;GATEWAY=10.1.2.1;labels=[{\"k\":\"a=b\"}]",
        )
        .unwrap();
        let expected = CniArgs {
            ip: vec!["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()],
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            gateway: Some("10.1.2.1".parse().unwrap()),
            pod_namespace: Some("default".to_owned()),
            pod_name: Some("web-0".to_owned()),
            infra_container_id: Some("abc".to_owned()),
            pod_uid: Some("1-2".to_owned()),
        };
        assert_eq!(args, expected);
    }

    #[test]
    fn nothing_said() {
        for text in ["", ";", "IP=", "IP=;MAC=;K8S_POD_NAME=;", "x=1;IgnoreUnknown=TRUE"] {
            assert_eq!(CniArgs::parse(text).unwrap(), CniArgs::default(), "{text}");
        }
    }

    #[test]
    fn refuses() {
        let cases = [
            ("IP", "\"IP\" is not KEY=VALUE"),
            (
                "a=1;IgnoreUnknown=0;b=2",
                "unknown keys \"a\", \"b\"; add IgnoreUnknown=1 to pass them over",
            ),
            ("IgnoreUnknown=yes", "IgnoreUnknown: \"yes\" is neither true nor false"),
            ("IP=10.0.0.300", "IP: \"10.0.0.300\" is not an IPv4 or IPv6 address"),
            ("IP=10.0.0.3,", "IP: \"\" is not an IPv4 or IPv6 address"),
            ("GATEWAY=x", "GATEWAY: \"x\" is not an IPv4 or IPv6 address"),
            (
                "MAC=01:00:00:00:00:00",
                "MAC: \"01:00:00:00:00:00\" is a multicast address; use a unicast one",
            ),
        ];
        for (text, problem) in cases {
            let error = CniArgs::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("CNI_ARGS: {problem}"));
            assert_eq!(error.code(), 4);
        }
    }
}
