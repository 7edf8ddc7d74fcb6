//! The whole environment of a call: whatever stands in it, there is one answer, and what is accepted
//! is safe as the name of an interface, of a file, of a namespace.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use flatnet_conf::{CniArgs, Command, Error, Invocation, NetworkConf};

use crate::reply::{answer, refusal};

/// The bytes as in `/proc/PID/environ`, variables that each end with NUL; after an empty one comes
/// standard input. And all of it as `CNI_ARGS` alone.
pub fn environment(data: &[u8]) {
    let (variables, stdin) = match data.windows(2).position(|pair| pair == [0, 0]) {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let get = |name: &str| -> Option<OsString> {
        variables.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(OsStr::from_bytes(value).to_owned())
        })
    };
    answer(get, stdin, |invocation, input| {
        accepted(&invocation);
        NetworkConf::parse(&input, &invocation)?;
        Ok::<_, Error>(None)
    });
    if let Ok(text) = std::str::from_utf8(data) {
        match CniArgs::parse(text) {
            Ok(args) => accepted_args(&args),
            Err(error) => refusal(error),
        }
    }
}

fn accepted(invocation: &Invocation) {
    let attachment = matches!(invocation.command, Command::Add | Command::Check | Command::Del);
    if !attachment {
        return;
    }
    let id = invocation.container_id.as_bytes();
    assert!(id.first().is_some_and(u8::is_ascii_alphanumeric), "{id:?}");
    assert!(id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte)), "{id:?}");
    let name = &invocation.ifname;
    assert!((1..16).contains(&name.len()) && name != "." && name != "..", "{name:?}");
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    assert!(!name.contains(bad), "{name:?}");
    let namespace = &invocation.netns;
    assert!(invocation.command == Command::Del || namespace.is_some(), "no namespace");
    accepted_args(&invocation.args);
}

fn accepted_args(args: &CniArgs) {
    assert!(args.mac.is_none_or(|mac| mac.0[0] & 1 == 0), "a multicast MAC");
    let texts = [&args.pod_namespace, &args.pod_name, &args.pod_uid, &args.infra_container_id];
    assert!(!texts.into_iter().flatten().any(String::is_empty), "an empty value counts as absent");
}
