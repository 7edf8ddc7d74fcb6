//! From the environment and standard input to standard output: one call of a runtime.

use std::ffi::OsString;
use std::io::Read;

use flatnet_conf::{Command, Invocation, NetworkConf, Reply, versions_json};
use serde_json::Value;

use crate::delegate::Delegate;
use crate::error::Error;
use crate::{logging, verbs};

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

/// Serves one call.
pub fn call(get: impl Fn(&str) -> Option<OsString>, stdin: impl Read) -> Reply {
    let reply = flatnet_conf::call(get, stdin, serve);
    if let Some(problem) = reply.problem() {
        log::error!("{problem}");
    }
    reply
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
