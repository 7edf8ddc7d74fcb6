//! From the environment and standard input to standard output: one call of a runtime.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::time::Instant;

use flatnet_conf::{Command, Invocation, NetworkConf, complain, versions_json};
use serde_json::Value;

use super::request::Call;
use super::summary::Summary;
use super::{add, check, del, gc, status};
use crate::error::Error;
use crate::logging;

/// Serves one call. Says whether it succeeded.
pub fn call(get: impl Fn(&str) -> Option<OsString>, stdin: impl Read, stdout: impl Write) -> bool {
    let mut served = None;
    let reply =
        flatnet_conf::call(get, stdin, |invocation, input| serve(invocation, input, &mut served));
    let Err(e) = reply.write(stdout) else { return reply.success };
    // The runtime will take this for a failure and call again or clean up.
    complain("flatnet", &format_args!("cannot write the result: {e}"));
    // An attachment that it was never told of would be in the way of the next ADD.
    let added = served.filter(|call| reply.success && call.invocation.command == Command::Add);
    if let Some(Err(e)) = added.map(|call| del::run(&call)) {
        complain("flatnet", &format_args!("undoing the ADD: {e}"));
    }
    false
}

/// The call is `kept` once it was understood.
fn serve(
    invocation: Invocation,
    input: Vec<u8>,
    kept: &mut Option<Call>,
) -> Result<Option<Value>, Error> {
    let conf = NetworkConf::parse(&input, &invocation)?;
    logging::start(conf.log_level, conf.log_file.as_deref());
    let begun = Instant::now();
    let call = kept.insert(Call { invocation, conf, input });
    let served = run(call);
    let addresses = served.as_ref().map_or(&[][..], |served| &served.addresses);
    let Call { invocation, conf, .. } = call;
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
            let result = add::run(call)?;
            let addresses = result.ips.iter().map(|ip| ip.address.ip()).collect();
            let document = Some(result.to_json(call.conf.cni_version));
            return Ok(Served { document, addresses });
        }
        Command::Del => del::run(call)?,
        Command::Check => check::run(call).map(|()| Vec::new())?,
        Command::Gc => gc::run(call)?,
        Command::Status => status::run(call).map(|()| Vec::new())?,
        // Answered before there is a configuration.
        Command::Version => {
            return Ok(Served { document: Some(versions_json()), addresses: Vec::new() });
        }
    };
    Ok(Served { document: None, addresses })
}
