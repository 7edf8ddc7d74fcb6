//! The verbs of an IPAM plugin (CNI specification, section 4), for each kind of configuration.

mod range_file;
mod range_sets;
mod resolv_conf;

use std::net::IpAddr;

use flatnet_conf::{
    AddResult, AddressSource, Command, Dns, Invocation, IpConfig, IpamConf, versions_json,
};
use flatnet_ipam::{Error, Given, Result};
use serde_json::Value;

/// Does what one call asks for; the document is the result of ADD.
///
/// # Errors
/// The codes of [`Error`]. ADD leaves nothing then; DEL and GC have done all that could be done.
pub fn serve(invocation: Invocation, input: Vec<u8>) -> Result<Option<Value>> {
    let conf = IpamConf::parse(&input, &invocation)?;
    match invocation.command {
        Command::Add => add(&conf, &invocation).map(Some),
        Command::Check => check(&conf, &invocation).map(|()| None),
        Command::Status => status(&conf).map(|()| None),
        Command::Del => {
            clean(
                conf.by_range_file.then(|| range_file::del(&conf, &invocation)),
                conf.by_sets.then(|| range_sets::del(&conf, &invocation)),
            )?;
            match conf.sets_too_many {
                Some(problem) => Err(flatnet_conf::Error::Version(problem).into()),
                None => Ok(None),
            }
        }
        Command::Gc => clean(
            conf.by_range_file.then(|| range_file::gc(&conf)),
            conf.by_sets.then(|| range_sets::gc(&conf)),
        )
        .map(|()| None),
        // Answered before there is a configuration.
        Command::Version => Ok(Some(versions_json())),
    }
}

fn add(conf: &IpamConf, invocation: &Invocation) -> Result<Value> {
    // Before any address is taken.
    let dns = match &conf.resolv_conf {
        Some(path) => resolv_conf::read(path)?,
        None => Dns::default(),
    };
    let given = match &conf.source {
        Some(AddressSource::RangeFile { path, node }) => {
            range_file::add(path, node.as_deref(), conf, invocation)?
        }
        Some(AddressSource::Sets(sets)) => range_sets::add(sets, conf, invocation)?,
        None => Vec::new(),
    };
    let ips = given.into_iter().map(|Given { address, gateway }| IpConfig {
        interface: None,
        address,
        gateway: Some(gateway),
    });
    let routes = conf.routes.clone();
    let result = AddResult { interfaces: Vec::new(), ips: ips.collect(), routes, dns };
    Ok(result.to_json(conf.cni_version))
}

/// The attachment has its lease, and prevResult, where there is one, tells all addresses of it.
fn check(conf: &IpamConf, invocation: &Invocation) -> Result<()> {
    let leased = match &conf.source {
        Some(AddressSource::RangeFile { path, node }) => {
            range_file::leased(path, node.as_deref(), conf, invocation)?
        }
        _ => range_sets::leased(conf, invocation)?,
    };
    let Invocation { container_id, ifname, .. } = invocation;
    let not_as_made = |reason| Err(Error::NotAsMade { reason });
    if leased.is_empty() {
        let network = &conf.name;
        return not_as_made(format!(
            "interface {ifname} of container {container_id} has no lease in network {network}"
        ));
    }
    let Some(result) = &conf.prev_result else { return Ok(()) };
    let told = |address: &IpAddr| result.ips.iter().any(|ip| ip.address.ip() == *address);
    match leased.iter().find(|address| !told(address)) {
        Some(address) => not_as_made(format!(
            "prevResult lacks {address}, which interface {ifname} of container {container_id} holds"
        )),
        None => Ok(()),
    }
}

fn status(conf: &IpamConf) -> Result<()> {
    let looked = match &conf.source {
        Some(AddressSource::RangeFile { path, node }) => {
            range_file::look(path, node.as_deref(), conf)
        }
        _ => range_sets::look(conf),
    };
    looked.map_err(|error| Error::Unavailable(Box::new(error)))
}

/// Each kind of leases that there may be, whatever becomes of the other.
fn clean(by_file: Option<Result<()>>, by_sets: Option<Result<()>>) -> Result<()> {
    let outcomes = [by_file, by_sets].into_iter().flatten();
    Error::collect(outcomes.filter_map(Result::err).collect())
}
