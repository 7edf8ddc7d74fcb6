//! One call of a CNI executable, from the environment and standard input to the reply: what every
//! executable of the protocol has in common, whatever it does.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};

use serde_json::Value;

use crate::{
    Command, Error, Invocation, Version, error_json, one_line, reply_version, versions_json,
};

/// More than any network configuration: beyond it something else is being piped in.
const LONGEST_INPUT: u64 = 16 << 20;

/// What an error result is made of; the message is the text.
pub trait Failure: fmt::Display {
    /// The code of the CNI error.
    fn code(&self) -> u32;

    /// More for its `details`; empty where the message says it all.
    fn details(&self) -> String {
        String::new()
    }
}

impl Failure for Error {
    fn code(&self) -> u32 {
        Error::code(self)
    }

    fn details(&self) -> String {
        Error::details(self)
    }
}

/// What goes to standard output, and whether the call succeeded.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// The one JSON document; `None` where the specification wants silence.
    pub document: Option<Value>,
    /// Exit status 0 or 1.
    pub success: bool,
}

impl Reply {
    /// The message of a failure.
    #[cfg(test)]
    fn problem(&self) -> Option<&str> {
        let document = self.document.as_ref().filter(|_| !self.success)?;
        document.get("msg")?.as_str()
    }

    /// Writes the document, if there is one, as a line.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        match &self.document {
            Some(document) => writeln!(to, "{document}"),
            None => Ok(()),
        }
    }
}

/// Reads environment and standard input, lets `serve` do what they ask for, and makes the reply
/// of what comes out. VERSION is answered here, and so is what cannot be understood.
pub fn call<E: Failure + From<Error>>(
    get: impl Fn(&str) -> Option<OsString>,
    stdin: impl Read,
    serve: impl FnOnce(Invocation, Vec<u8>) -> Result<Option<Value>, E>,
) -> Reply {
    let is_del = get("CNI_COMMAND").is_some_and(|command| command == Command::Del.as_str());
    let invocation = match Invocation::from_env(get) {
        Ok(invocation) => invocation,
        Err(error) => {
            // The version that the caller speaks stands in its configuration, wrong as the rest
            // may be.
            let version = reply_version(&read(stdin).unwrap_or_default());
            return failure(is_del, version, &error);
        }
    };
    if invocation.command == Command::Version {
        return Reply { document: Some(versions_json()), success: true };
    }
    let input = match read(stdin) {
        Ok(input) => input,
        Err(error) => return failure(is_del, Version::V1_1_0, &error),
    };
    let version = reply_version(&input);
    match serve(invocation, input) {
        Ok(document) => Reply { document, success: true },
        Err(error) => failure(is_del, version, &error),
    }
}

fn failure(is_del: bool, version: Version, error: &dyn Failure) -> Reply {
    let (mut message, mut details) = (one_line(&error.to_string()), one_line(&error.details()));
    if is_del {
        message = without_words_for_success(&message);
        details = without_words_for_success(&details);
    }
    let document = error_json(version, error.code(), &message, &details);
    Reply { document: Some(document), success: false }
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    stdin.take(LONGEST_INPUT + 1).read_to_end(&mut input).map_err(Error::Input)?;
    if input.len() as u64 > LONGEST_INPUT {
        return Err(Error::Invalid {
            origin: "network configuration".to_owned(),
            path: String::new(),
            problem: format!("is longer than {LONGEST_INPUT} bytes"),
        });
    }
    Ok(input)
}

/// containerd takes a failed DEL whose message or details contain one of these for a success, and the
/// attachment would be forgotten with all that it holds in place.
fn without_words_for_success(message: &str) -> String {
    let words = [("not found", "missing"), ("no such file or directory", "the file is missing")];
    words.iter().fold(message.to_owned(), |mut text, (word, other)| {
        while let Some(at) = text.to_ascii_lowercase().find(word) {
            text.replace_range(at..at + word.len(), other);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(command: &'static str) -> impl Fn(&str) -> Option<OsString> {
        move |name| match name {
            "CNI_COMMAND" => Some(command.into()),
            "CNI_CONTAINERID" => Some("c1".into()),
            "CNI_IFNAME" => Some("eth0".into()),
            "CNI_NETNS" => Some("/run/netns/c1".into()),
            "CNI_PATH" => Some("/opt/cni/bin".into()),
            _ => None,
        }
    }

    fn missing(_: Invocation, _: Vec<u8>) -> Result<Option<Value>, Error> {
        Err(Error::Environment("cannot open /x: No such file or directory: Not Found".to_owned()))
    }

    fn nothing(_: Invocation, _: Vec<u8>) -> Result<Option<Value>, Error> {
        Ok(None)
    }

    #[test]
    fn a_failed_del_is_not_taken_for_a_success() {
        let stdin = br#"{"cniVersion": "0.4.0"}"#.as_slice();
        let reply = call(environment("DEL"), stdin, missing);
        let message = "cannot open /x: the file is missing: missing";
        assert_eq!(reply.problem(), Some(message));
        let document = json!({ "cniVersion": "0.4.0", "code": 4, "msg": message });
        assert_eq!(reply, Reply { document: Some(document), success: false });
        let reply = call(environment("ADD"), stdin, missing);
        let message = "cannot open /x: No such file or directory: Not Found";
        assert_eq!(reply.problem(), Some(message));
    }

    #[test]
    fn nor_is_one_whose_environment_is_wrong() {
        let get = |name: &str| match name {
            "CNI_IFNAME" => Some("not found".into()),
            name => environment("DEL")(name),
        };
        let reply = call(get, io::empty(), nothing);
        assert!(reply.problem().unwrap().starts_with("CNI_IFNAME: \"missing\" must not hold"));
    }

    #[test]
    fn what_is_quoted_in_a_message_is_bounded_and_cannot_move_a_cursor() {
        let input = format!(r#"{{"cniVersion": "0.4.0", "x": "{}"}}"#, "not found".repeat(100_000));
        let serve = |_, input: Vec<u8>| -> Result<Option<Value>, Error> {
            Err(Error::Environment(format!("\u{1b}[2J\n{}", String::from_utf8_lossy(&input))))
        };
        let reply = call(environment("DEL"), input.as_bytes(), serve);
        let message = reply.problem().unwrap();
        assert!(message.starts_with("\\u{1b}[2J\\n{\"cniVersion\"") && message.ends_with("\"}"));
        assert!(message.len() < 10_000 && !message.contains("not found"), "{message}");
    }

    #[test]
    fn an_endless_input_ends() {
        let reply = call(environment("STATUS"), io::repeat(b' '), nothing);
        let document = reply.document.unwrap();
        assert_eq!(document["code"], 7);
        assert_eq!(document["msg"], "network configuration: is longer than 16777216 bytes");
    }

    #[test]
    fn silence_is_silence() {
        let reply = call(environment("DEL"), b"{}".as_slice(), nothing);
        assert_eq!(reply, Reply { document: None, success: true });
        let mut written = Vec::new();
        reply.write(&mut written).unwrap();
        assert!(written.is_empty());
    }

    #[test]
    fn version_reads_nothing() {
        let reply = call(environment("VERSION"), io::empty(), missing);
        assert_eq!(reply, Reply { document: Some(versions_json()), success: true });
    }

    #[test]
    fn what_cannot_be_understood_is_answered_in_the_callers_version() {
        let stdin = br#"{"cniVersion": "1.0.0"}"#.as_slice();
        let reply = call(environment("LIST"), stdin, nothing);
        let document = reply.document.unwrap();
        assert_eq!((&document["cniVersion"], &document["code"]), (&json!("1.0.0"), &json!(4)));
    }
}
