//! From the environment and standard input to standard output: one call of a runtime.

use std::ffi::OsString;
use std::io::Read;

use flatnet_conf::{
    Command, Invocation, NetworkConf, Version, error_json, reply_version, versions_json,
};
use serde_json::Value;

use crate::delegate::Delegate;
use crate::error::Error;
use crate::{logging, verbs};

/// More than any network configuration: beyond it something else is being piped in.
const LONGEST_INPUT: u64 = 16 << 20;

/// What a runtime asks of us.
pub struct Call {
    /// The environment.
    pub invocation: Invocation,
    /// The network configuration.
    pub conf: NetworkConf,
    /// The same as it came, for a delegate.
    pub input: Vec<u8>,
}

impl Call {
    /// The IPAM plugin that gives the addresses; `None` if we do.
    ///
    /// # Errors
    /// Code 7 if it is not in `CNI_PATH`.
    pub fn delegate(&self) -> Result<Option<Delegate<'_>>, Error> {
        let find = |name: &String| Delegate::find(name, &self.invocation.path, &self.input);
        self.conf.ipam.as_ref().map(find).transpose()
    }
}

/// What goes to standard output, and whether the call succeeded.
pub struct Reply {
    /// The one JSON document; `None` where the specification wants silence.
    pub document: Option<Value>,
    /// Exit status 0 or 1.
    pub success: bool,
}

/// Serves one call.
pub fn call(get: impl Fn(&str) -> Option<OsString>, stdin: impl Read) -> Reply {
    let failure = |command, version, e: &Error| {
        let mut message = e.to_string();
        if command == Some(Command::Del) {
            message = without_words_for_success(&message);
        }
        log::error!("{message}");
        let document = error_json(version, e.code(), &message, &e.details());
        Reply { document: Some(document), success: false }
    };
    let invocation = match Invocation::from_env(get) {
        Ok(invocation) => invocation,
        // The version that the caller speaks stands in its configuration, wrong as the rest may be.
        Err(e) => {
            return failure(None, reply_version(&read(stdin).unwrap_or_default()), &e.into());
        }
    };
    let command = invocation.command;
    if command == Command::Version {
        return Reply { document: Some(versions_json()), success: true };
    }
    let input = match read(stdin) {
        Ok(input) => input,
        Err(e) => return failure(Some(command), Version::V1_1_0, &e),
    };
    let version = reply_version(&input);
    match serve(invocation, input) {
        Ok(document) => Reply { document, success: true },
        Err(e) => failure(Some(command), version, &e),
    }
}

fn serve(invocation: Invocation, input: Vec<u8>) -> Result<Option<Value>, Error> {
    let conf = NetworkConf::parse(&input, &invocation)?;
    logging::start(conf.log_level, conf.log_file.as_deref());
    let call = Call { invocation, conf, input };
    match call.invocation.command {
        Command::Add => return Ok(Some(verbs::add::run(&call)?.to_json(call.conf.cni_version))),
        Command::Del => verbs::del::run(&call),
        Command::Check => verbs::check::run(&call),
        Command::Gc => verbs::gc::run(&call),
        Command::Status => verbs::status::run(&call),
        // Answered before there is a configuration.
        Command::Version => return Ok(Some(versions_json())),
    }
    .map(|()| None)
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    let failed = |source| Error::File { action: "read", path: "standard input".into(), source };
    stdin.take(LONGEST_INPUT + 1).read_to_end(&mut input).map_err(failed)?;
    if input.len() as u64 > LONGEST_INPUT {
        return Err(Error::Configuration {
            reason: format!("the network configuration is longer than {LONGEST_INPUT} bytes"),
        });
    }
    Ok(input)
}

/// containerd takes a failed DEL whose message contains one of these for a success, and the
/// attachment would be forgotten with its lease and veth in place.
fn without_words_for_success(message: &str) -> String {
    let words = [("not found", "missing"), ("no such file or directory", "the file is missing")];
    words.iter().fold(message.to_owned(), |text, (word, other)| {
        let mut text = text;
        while let Some(at) = text.to_ascii_lowercase().find(word) {
            text.replace_range(at..at + word.len(), other);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_del_is_not_taken_for_a_success() {
        let message = "cannot open /x: No such file or directory (os error 2): Not Found";
        assert_eq!(
            without_words_for_success(message),
            "cannot open /x: the file is missing (os error 2): missing"
        );
    }

    #[test]
    fn an_endless_input_ends() {
        let get = |name: &str| match name {
            "CNI_COMMAND" => Some("STATUS".into()),
            "CNI_PATH" => Some("/opt/cni/bin".into()),
            _ => None,
        };
        let reply = call(get, std::io::repeat(b' '));
        assert!(!reply.success);
        assert_eq!(reply.document.unwrap()["code"], 7);
    }
}
