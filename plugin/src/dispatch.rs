//! From the environment and standard input to standard output: one call of a runtime.

use std::ffi::OsString;
use std::io::Read;
use std::net::IpAddr;
use std::time::Instant;

use flatnet_conf::{Command, Invocation, NetworkConf, Reply, versions_json};
use serde_json::Value;

use crate::delegate::Delegate;
use crate::error::Error;
use crate::summary::Summary;
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
    flatnet_conf::call(get, stdin, serve)
}

fn serve(invocation: Invocation, input: Vec<u8>) -> Result<Option<Value>, Error> {
    let conf = NetworkConf::parse(&input, &invocation)?;
    logging::start(conf.log_level, conf.log_file.as_deref());
    let begun = Instant::now();
    let call = Call { invocation, conf, input };
    let served = run(&call);
    let addresses = served.as_ref().map_or(&[][..], |served| &served.addresses);
    let Call { invocation, conf, .. } = &call;
    let summary = Summary { invocation, conf, addresses, took: begun.elapsed() };
    match &served {
        Ok(_) => log::info!("{summary}"),
        Err(e) => {
            let line = format!("{summary}: {e}");
            log::error!("{line}");
            // The answer of STATUS is the runtime's to tell, which asks again and again.
            if conf.log_file.is_none() && invocation.command != Command::Status {
                logging::tell_the_journal(&line);
            }
        }
    }
    served.map(|served| served.document)
}

/// What came of a call.
struct Served {
    document: Option<Value>,
    /// What the attachment got, or what was given back.
    addresses: Vec<IpAddr>,
}

fn run(call: &Call) -> Result<Served, Error> {
    let addresses = match call.invocation.command {
        Command::Add => {
            let result = verbs::add::run(call)?;
            let addresses = result.ips.iter().map(|ip| ip.address.ip()).collect();
            let document = Some(result.to_json(call.conf.cni_version));
            return Ok(Served { document, addresses });
        }
        Command::Del => verbs::del::run(call)?,
        Command::Check => verbs::check::run(call).map(|()| Vec::new())?,
        Command::Gc => verbs::gc::run(call)?,
        Command::Status => verbs::status::run(call).map(|()| Vec::new())?,
        // Answered before there is a configuration.
        Command::Version => {
            return Ok(Served { document: Some(versions_json()), addresses: Vec::new() });
        }
    };
    Ok(Served { document: None, addresses })
}
