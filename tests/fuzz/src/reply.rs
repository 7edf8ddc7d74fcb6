//! One call as a runtime makes it, and what must hold of every answer.

use std::ffi::OsString;

use flatnet_conf::{Command, Error, Failure, Invocation, Reply, call};
use serde_json::Value;

/// More than any message: what is quoted in it is cut, and each byte of the rest escaped at worst.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// The environment of a call without anything unusual.
pub fn environment(command: Command) -> impl Fn(&str) -> Option<OsString> {
    move |name| match name {
        "CNI_COMMAND" => Some(command.as_str().into()),
        "CNI_CONTAINERID" => Some("c1".into()),
        "CNI_IFNAME" => Some("eth0".into()),
        "CNI_NETNS" => Some("/run/netns/c1".into()),
        "CNI_PATH" => Some("/opt/cni/bin".into()),
        _ => None,
    }
}

/// The invocation that this environment makes.
pub fn invocation(command: Command) -> Invocation {
    Invocation::from_env(environment(command)).expect("nothing unusual")
}

/// Makes a call and judges its answer.
pub fn answer<E: Failure + From<Error>>(
    get: impl Fn(&str) -> Option<OsString>,
    stdin: &[u8],
    serve: impl FnOnce(Invocation, Vec<u8>) -> Result<Option<Value>, E>,
) -> Reply {
    let is_del = get("CNI_COMMAND").is_some_and(|command| command == "DEL");
    let reply = call(get, stdin, serve);
    let mut written = Vec::new();
    reply.write(&mut written).expect("written to memory");
    let lines = written.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, usize::from(reply.document.is_some()), "one line, or none");
    if reply.success {
        return reply;
    }
    let document = reply.document.as_ref().expect("an error object");
    assert!(document["code"].as_u64().is_some_and(|code| code > 0), "{document}");
    assert!(document["cniVersion"].is_string(), "{document}");
    assert_ne!(document["msg"], "", "an error without words");
    for key in ["msg", "details"] {
        let text = document[key].as_str().unwrap_or_default();
        assert_text(text);
        // containerd would take it for a success.
        let lower = text.to_ascii_lowercase();
        let misleads = lower.contains("not found") || lower.contains("no such file or directory");
        assert!(!(is_del && misleads), "{text}");
    }
    reply
}

/// Judges an error by the answer that it makes.
pub fn refusal<E: Failure + From<Error>>(error: E) {
    answer(environment(Command::Add), b"{}", |_, _| Err(error));
}

/// A text for people is one line of bounded length without control characters.
pub fn assert_text(text: &str) {
    assert!(text.len() <= LONGEST_MESSAGE, "{} bytes: {text:.200}", text.len());
    let bidi = |c| matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.chars().any(|c| c.is_control() || bidi(c)), "{text:?}");
}
