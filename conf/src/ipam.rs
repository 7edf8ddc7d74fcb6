//! The network configuration as an IPAM plugin reads it: whose addresses, from which ranges.
//!
//! There are two kinds of section `ipam`: with a `rangeFile`, or with the keys of the reference
//! plugin host-local.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::Broken;
use crate::keys::{Keys, LEAF};
use crate::network::{self, fields};
use crate::{
    AddResult, AttachmentId, Command, Error, Invocation, RangeSet, Route, Version, raw, result,
};

/// What one call of an IPAM plugin is about.
#[derive(Clone, PartialEq, Debug)]
pub struct IpamConf {
    /// `cniVersion`: the version that the answer is given in.
    pub cni_version: Version,
    /// `name` of the network.
    pub name: String,
    /// Where addresses come from; `None` for DEL and GC, which ask for none.
    pub source: Option<AddressSource>,
    /// Whether there may be leases in a range file's ranges, and in range sets: one of both, except
    /// for a DEL or GC whose section `ipam` does not tell which.
    pub by_range_file: bool,
    /// See `by_range_file`.
    pub by_sets: bool,
    /// `ipam.stateDir`, absolute: where leases in a range file's ranges are kept.
    pub state_dir: PathBuf,
    /// `ipam.dataDir`, absolute: where leases in range sets are kept.
    pub data_dir: PathBuf,
    /// For DEL: that `cniVersion` has no room for an address of each set, in host-local's words. Its
    /// ADD failed, so nothing is lost if its DEL, as host-local's, does too once all is freed.
    pub sets_too_many: Option<String>,
    /// `ipam.routes`, passed on in the result.
    pub routes: Vec<Route>,
    /// `ipam.resolvConf`: a file whose content is passed on as `dns` of the result.
    pub resolv_conf: Option<PathBuf>,
    /// Addresses asked for. With a range file: those of `runtimeConfig.ips`, else `args.cni.ips`,
    /// else `IP` of `CNI_ARGS`. With host-local's keys: all of them together, as host-local does.
    pub requested_ips: Vec<IpAddr>,
    /// `prevResult`: for CHECK, the result of the whole chain.
    pub prev_result: Option<AddResult>,
    /// For GC: the attachments that the runtime knows; see
    /// [`NetworkConf::valid_attachments`](crate::NetworkConf::valid_attachments).
    pub valid_attachments: Option<Vec<AttachmentId>>,
}

/// Where addresses come from.
#[derive(Clone, PartialEq, Debug)]
pub enum AddressSource {
    /// One node's ranges of a range file.
    RangeFile {
        /// `ipam.rangeFile`, absolute.
        path: PathBuf,
        /// `ipam.node`: this node's name in the range file, where it is not to be found out.
        node: Option<String>,
    },
    /// Range sets, that do not overlap: `runtimeConfig.ipRanges`, then the range that stands in
    /// the section itself, then `ipam.ranges`.
    Sets(Vec<RangeSet>),
}

/// Where host-local keeps its leases.
const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

const RANGE: [(&str, Keys); 4] =
    [("subnet", LEAF), ("rangeStart", LEAF), ("rangeEnd", LEAF), ("gateway", LEAF)];

const IPAM: Keys = Keys(&[
    ("rangeFile", LEAF),
    ("node", LEAF),
    ("stateDir", LEAF),
    ("ranges", Keys(&RANGE)),
    ("subnet", LEAF),
    ("rangeStart", LEAF),
    ("rangeEnd", LEAF),
    ("gateway", LEAF),
    ("dataDir", LEAF),
    // Their own keys are those of a result.
    ("routes", LEAF),
    ("resolvConf", LEAF),
]);

/// Every key that is read here.
const KEYS: Keys = Keys(&[
    ("cniVersion", LEAF),
    ("name", LEAF),
    ("ipam", IPAM),
    ("prevResult", LEAF),
    ("runtimeConfig", Keys(&[("ips", LEAF), ("ipRanges", Keys(&RANGE))])),
    ("args", Keys(&[("cni", Keys(&[("ips", LEAF)]))])),
    (network::VALID_ATTACHMENTS[0], network::ATTACHMENT),
    (network::VALID_ATTACHMENTS[1], network::ATTACHMENT),
]);

impl IpamConf {
    /// Reads the configuration from the bytes of standard input. For DEL and GC everything but
    /// the JSON itself, `name` and `cniVersion` may be missing or wrong.
    pub fn parse(stdin: &[u8], invocation: &Invocation) -> Result<IpamConf, Error> {
        let (value, cni_version) = network::open(stdin, invocation.command, &KEYS)?;
        let lenient = matches!(invocation.command, Command::Del | Command::Gc);
        let valid_attachments = fields::valid_attachments(&value);
        let raw: raw::IpamNetwork = network::read(value, lenient).map_err(network::invalid)?;
        let name = fields::name(raw.name.as_deref()).map_err(network::invalid)?;
        let fields = fields::Fields { lenient };
        let section = fields.get(section(raw.ipam, lenient))?.unwrap_or_default();

        let (ips, ip_ranges) = match raw.runtime_config {
            Some(config) => (config.ips, config.ip_ranges),
            None => (None, None),
        };
        let ip_ranges = ip_ranges.unwrap_or_default();
        let by_file = section.range_file.is_some();
        let by_sets = section.subnet.is_some() || section.ranges.is_some() || !ip_ranges.is_empty();
        let mut sets_too_many = None;
        let source = match invocation.command {
            Command::Del => {
                let sets = sets(&ip_ranges, &section, cni_version);
                sets_too_many = sets.err().and_then(|error| match error {
                    Error::Version(problem) => Some(problem),
                    _ => None,
                });
                None
            }
            Command::Gc => None,
            _ if by_file && by_sets => return Err(network::invalid(two_kinds())),
            _ if by_file => Some(range_file(&section)?),
            _ => Some(AddressSource::Sets(sets(&ip_ranges, &section, cni_version)?)),
        };
        let by_sets = by_sets || section.data_dir.is_some();
        let state_dir = fields.get(path(section.state_dir.as_deref(), "stateDir"))?;
        let data_dir = fields.get(path(section.data_dir.as_deref(), "dataDir"))?;
        let requests =
            raw::RuntimeConfig { ips, ip_ranges: None, mac: None, dns: None, bandwidth: None };
        let requests = fields::Requests::new(Some(requests), raw.args, &invocation.args);
        let prev_result = raw.prev_result.as_ref();
        let prev_result = prev_result.map(|value| fields::prev_result(value, cni_version));
        Ok(IpamConf {
            cni_version,
            name,
            by_range_file: by_file || !by_sets,
            by_sets: by_sets || !by_file,
            state_dir: state_dir.unwrap_or_else(|| network::DEFAULT_STATE_DIR.into()),
            data_dir: data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            sets_too_many,
            routes: fields.get(routes(section.routes))?,
            resolv_conf: fields.get(path(section.resolv_conf.as_deref(), "resolvConf"))?,
            requested_ips: fields.get(match source {
                Some(AddressSource::RangeFile { .. }) => requests.ips(),
                _ => requests.every_ip(),
            })?,
            source,
            prev_result: fields.get(prev_result.transpose())?,
            valid_attachments: fields.get(valid_attachments)?,
        })
    }
}

fn section(value: Option<Value>, lenient: bool) -> Result<Option<raw::IpamSection>, Broken> {
    let value = value.filter(|value| !value.is_null());
    value.map(|value| network::read(value, lenient).map_err(|e| e.under("ipam"))).transpose()
}

fn two_kinds() -> Broken {
    Broken::new(
        "cannot be combined with subnet, ranges or runtimeConfig.ipRanges; leave out one or the \
         other",
    )
    .under("ipam.rangeFile")
}

fn path(text: Option<&str>, field: &str) -> Result<Option<PathBuf>, Broken> {
    let text = text.filter(|text| !text.is_empty());
    fields::absolute_path(text, field).map_err(|broken| broken.under("ipam"))
}

fn range_file(section: &raw::IpamSection) -> Result<AddressSource, Broken> {
    let path = fields::absolute_path(section.range_file.as_deref(), "rangeFile");
    let read = path.and_then(|path| fields::required_range_file(path, None)).and_then(|path| {
        let node = fields::node(section.node.clone())?;
        Ok(AddressSource::RangeFile { path: path.unwrap_or_default(), node })
    });
    read.map_err(|broken| broken.under("ipam"))
}

/// All sets, in host-local's order.
fn sets(
    ip_ranges: &[Vec<raw::IpamRange>],
    section: &raw::IpamSection,
    version: Version,
) -> Result<Vec<RangeSet>, Error> {
    let single = section.subnet.as_ref().map(|subnet| raw::IpamRange {
        subnet: Some(subnet.clone()),
        range_start: section.range_start.clone(),
        range_end: section.range_end.clone(),
        gateway: section.gateway.clone(),
    });
    let mut sets = Vec::new();
    list(&mut sets, ip_ranges, "runtimeConfig.ipRanges")?;
    if let Some(single) = single {
        let set = RangeSet::single(&single).map_err(|broken| broken.under("ipam"))?;
        sets.push(("ipam.subnet".to_owned(), set));
    }
    list(&mut sets, section.ranges.as_deref().unwrap_or_default(), "ipam.ranges")?;
    if sets.is_empty() {
        let problem = "gives no addresses; set rangeFile, or ranges or subnet as for host-local";
        return Err(Broken::new(problem).under("ipam").into());
    }
    if let Some([earlier, later]) = RangeSet::overlap(sets.iter().map(|(_, set)| set)) {
        let ((other, _), (name, set)) = (&sets[earlier], &sets[later]);
        return Err(Broken::new(format!("{set} overlaps {other}")).under(name).into());
    }
    let v4 = sets.iter().filter(|(_, set)| set.is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || sets.len() - v4 > 1) {
        // host-local's words, which callers look for.
        let problem =
            format!("CNI version {version} does not support more than 1 address per family");
        return Err(Error::Version(problem));
    }
    Ok(sets.into_iter().map(|(_, set)| set).collect())
}

fn list(
    sets: &mut Vec<(String, RangeSet)>,
    raw: &[Vec<raw::IpamRange>],
    field: &str,
) -> Result<(), Broken> {
    for (index, raw) in raw.iter().enumerate() {
        let name = format!("{field}[{index}]");
        let set = RangeSet::from_raw(raw).map_err(|broken| broken.under(&name))?;
        sets.push((name, set));
    }
    Ok(())
}

/// As a result of the newest version has them.
fn routes(value: Option<Value>) -> Result<Vec<Route>, Broken> {
    let document = json!({ "routes": value });
    let read = result::read(&document, Version::V1_1_0).map_err(|broken| broken.under("ipam"))?;
    Ok(read.routes)
}

#[cfg(test)]
mod tests;
