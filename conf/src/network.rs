//! The network configuration that comes on standard input, validated.

pub(crate) mod fields;
mod file;

pub(crate) use fields::version;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Broken;
use crate::json;
use crate::keys::{self, Keys, LEAF};
use crate::{AddResult, CniArgs, Command, Dns, Error, Invocation, Mac, Range, Version, near, raw};

/// How much is logged.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum LogLevel {
    /// What made a command fail.
    Error,
    /// And what an operator should look at.
    #[default]
    Warn,
    /// And what was done.
    Info,
    /// And why.
    Debug,
}

/// What one network is to be, for one invocation.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkConf {
    /// `cniVersion`: the version that the answer is given in.
    pub cni_version: Version,
    /// `name`: letters, digits, `_`, `.` and `-`; any length.
    pub name: String,
    /// `rangeFile`, absolute; use [`NetworkConf::range_file`]. Present for all but DEL and GC.
    pub range_file: Option<PathBuf>,
    /// `ipam.type`: the executable that gives the addresses; `None` is the built-in one.
    pub ipam: Option<String>,
    /// `node`: this node's name in the range file, where it is not to be found out.
    pub node: Option<String>,
    /// `mtu` in bytes, 68 to 65535; `None` derives it from the underlay.
    pub mtu: Option<u32>,
    /// `ipMasq`: what leaves the cluster's networks takes the node's address, and what enters the overlay
    /// from outside takes the node's address on it.
    pub ip_masq: bool,
    /// `ipMasqNodes`: with `ip_masq`, also what pods send to other nodes' VTEPs.
    pub ip_masq_nodes: bool,
    /// `routes`: destinations to route; `None` means a default route per family.
    pub routes: Option<Vec<IpNetwork>>,
    /// `stateDir`, absolute: where leases and locks are kept.
    pub state_dir: PathBuf,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `logFile`, absolute; `None` is standard error.
    pub log_file: Option<PathBuf>,
    /// `runtimeConfig.dns`, else `dns`, as it is to appear in the result.
    pub dns: Dns,
    /// `prevResult`: what the plugins before this one in the chain made.
    pub prev_result: Option<AddResult>,
    /// Addresses asked for: `runtimeConfig.ips`, else `args.cni.ips`, else `IP` of `CNI_ARGS`.
    pub requested_ips: Vec<IpAddr>,
    /// Ranges asked for, `runtimeConfig.ipRanges`: the addresses are to be of these parts of the
    /// node's ranges. Empty where the runtime does not care.
    pub ip_ranges: Vec<Range>,
    /// MAC asked for: `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// For GC: the attachments that the runtime knows, `cni.dev/valid-attachments`. An empty list
    /// (or null) says that there is none; `None` that the runtime did not say.
    pub valid_attachments: Option<Vec<AttachmentId>>,
}

/// What names an attachment within a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachmentId {
    /// `containerID`.
    pub container_id: String,
    /// `ifname`.
    pub ifname: String,
}

const ORIGIN: &str = "network configuration";

/// Where a DEL looks for leases if it is not told, and everything else if nothing is said.
pub(crate) const DEFAULT_STATE_DIR: &str = "/run/flatnet";

/// All that an error's answer needs of a configuration.
pub(crate) const VERSION_KEY: Keys = Keys(&[("cniVersion", LEAF)]);

const IP_RANGE: Keys =
    Keys(&[("subnet", LEAF), ("rangeStart", LEAF), ("rangeEnd", LEAF), ("gateway", LEAF)]);

const REQUESTS: Keys = Keys(&[("ips", LEAF), ("mac", LEAF)]);

/// The key of the specification (section 4, GC), and the one that has been seen in its place.
pub(crate) const VALID_ATTACHMENTS: [&str; 2] =
    ["cni.dev/valid-attachments", "cni.dev/attachments"];

pub(crate) const ATTACHMENT: Keys = Keys(&[("containerID", LEAF), ("ifname", LEAF)]);

/// Every key that is read here. `prevResult` has its own, see `result`.
const KEYS: Keys = Keys(&[
    ("cniVersion", LEAF),
    ("name", LEAF),
    ("type", LEAF),
    ("rangeFile", LEAF),
    ("node", LEAF),
    ("mtu", LEAF),
    ("ipMasq", LEAF),
    ("ipMasqNodes", LEAF),
    ("routes", Keys(&[("dst", LEAF), ("gw", LEAF)])),
    ("stateDir", LEAF),
    ("logLevel", LEAF),
    ("logFile", LEAF),
    ("ipam", Keys(&[("type", LEAF)])),
    ("dns", Keys(&[("nameservers", LEAF), ("domain", LEAF), ("search", LEAF), ("options", LEAF)])),
    ("prevResult", LEAF),
    (
        "runtimeConfig",
        Keys(&[
            ("ips", LEAF),
            ("ipRanges", IP_RANGE),
            ("mac", LEAF),
            ("dns", Keys(&[("servers", LEAF), ("searches", LEAF), ("options", LEAF)])),
        ]),
    ),
    ("args", Keys(&[("cni", REQUESTS)])),
    (VALID_ATTACHMENTS[0], ATTACHMENT),
    (VALID_ATTACHMENTS[1], ATTACHMENT),
]);

impl NetworkConf {
    /// Reads the configuration from the bytes of standard input. For DEL and GC everything but
    /// the JSON itself, `name` and `cniVersion` may be missing or wrong: cleaning up must not
    /// need what setting up needs.
    pub fn parse(stdin: &[u8], invocation: &Invocation) -> Result<NetworkConf, Error> {
        let (value, cni_version) = open(stdin, invocation.command, &KEYS)?;
        let lenient = matches!(invocation.command, Command::Del | Command::Gc);
        NetworkConf::validate(value, cni_version, lenient, &invocation.args)
    }

    fn validate(
        value: Value,
        cni_version: Version,
        lenient: bool,
        args: &CniArgs,
    ) -> Result<NetworkConf, Error> {
        let valid_attachments = valid_attachments(&value);
        // A misspelt key is tolerated, but not in the place of one that must be there.
        let meant = meant_range_file(&value);
        let mut raw: raw::Network = read(value, lenient).map_err(invalid)?;
        let name = fields::name(raw.name.as_deref()).map_err(invalid)?;

        let fields = fields::Fields { lenient };
        fields.get(fields::kind(raw.kind.as_deref()))?;
        let range_file = fields::absolute_path(raw.range_file.as_deref(), "rangeFile");
        let required = |path| fields::required_range_file(path, meant.as_deref());
        let range_file = fields.get(range_file.and_then(required))?;
        let state_dir = fields.get(fields::absolute_path(raw.state_dir.as_deref(), "stateDir"))?;
        let prev_result = raw.prev_result.as_ref();
        let prev_result = prev_result.map(|value| fields::prev_result(value, cni_version));
        let runtime_dns = raw.runtime_config.as_mut().and_then(|config| config.dns.take());
        let runtime_dns = runtime_dns.map(Dns::from).filter(|dns| !dns.is_empty());
        let requests = fields::Requests::new(raw.runtime_config, raw.args, args);
        Ok(NetworkConf {
            cni_version,
            name,
            range_file,
            ipam: fields.get(fields::ipam(raw.ipam.as_ref()))?,
            node: fields.get(fields::node(raw.node))?,
            mtu: fields.get(fields::mtu(raw.mtu))?,
            ip_masq: raw.ip_masq.unwrap_or(false),
            ip_masq_nodes: raw.ip_masq_nodes.unwrap_or(true),
            routes: fields.get(raw.routes.as_deref().map(fields::routes).transpose())?,
            state_dir: state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            log_level: fields.get(fields::log_level(raw.log_level.as_deref()))?,
            log_file: fields.get(fields::absolute_path(raw.log_file.as_deref(), "logFile"))?,
            dns: runtime_dns.or(raw.dns.map(Dns::from)).unwrap_or_default(),
            prev_result: fields.get(prev_result.transpose())?,
            requested_ips: fields.get(requests.ips())?,
            ip_ranges: fields.get(requests.ip_ranges())?,
            mac: fields.get(requests.mac())?,
            // A list that cannot be read is no list: nothing is taken for stale by it.
            valid_attachments: fields.get(valid_attachments)?,
        })
    }

    /// The range file's path; an error with code 7 where a lenient command came without one.
    pub fn range_file(&self) -> Result<&Path, Error> {
        self.range_file.as_deref().ok_or_else(|| invalid(fields::range_file_missing(None)))
    }
}

/// The key that stands for `rangeFile`, where that is missing and a key is nearly it.
fn meant_range_file(value: &Value) -> Option<String> {
    if value.get("rangeFile").is_some() {
        return None;
    }
    let misses = near::misses("", value, &KEYS);
    misses.into_iter().find(|miss| miss.meant == "rangeFile").map(|miss| miss.key)
}

pub(crate) fn invalid(broken: Broken) -> Error {
    broken.in_document(ORIGIN)
}

/// The JSON object on standard input, its known keys in their exact spelling, and its version,
/// which allows the command.
pub(crate) fn open(stdin: &[u8], command: Command, keys: &Keys) -> Result<(Value, Version), Error> {
    let object: json::Object<_> = json::from_bytes(ORIGIN, stdin)?;
    let mut value = Value::Object(object.0);
    keys::fold_case(&mut value, keys);
    let version = fields::version(value.get("cniVersion"))?;
    allows(version, command)?;
    Ok((value, version))
}

/// The attachments that the runtime knows; `None` if it does not say.
pub(crate) fn valid_attachments(value: &Value) -> Result<Option<Vec<AttachmentId>>, Broken> {
    let list = VALID_ATTACHMENTS.iter().find_map(|key| value.get(*key));
    list.map(fields::attachments).transpose()
}

/// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
fn allows(version: Version, command: Command) -> Result<(), Error> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => Version::V0_1_0,
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
    };
    if version < since {
        // The reference library's words, which callers look for.
        let command = command.as_str();
        return Err(Error::Version(format!("config version does not allow {command}")));
    }
    Ok(())
}

/// Reads the types. A lenient reader drops what has the wrong one, key by key.
pub(crate) fn read<T: DeserializeOwned>(mut value: Value, lenient: bool) -> Result<T, Broken> {
    loop {
        let (key, broken) = match json::object_from_value(&value) {
            Ok(raw) => return Ok(raw),
            Err(error) => error,
        };
        let droppable = key.filter(|key| lenient && key != "name");
        let object = value.as_object_mut();
        let dropped = droppable.zip(object).and_then(|(key, object)| object.remove(&key));
        if dropped.is_none() {
            return Err(broken);
        }
    }
}

#[cfg(test)]
mod tests;
