//! The network configuration, from its text to what it means.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    ATTACHMENT, DEFAULT_STATE_DIR, NetworkConf, VALID_ATTACHMENTS, fields, invalid, open, read,
};
use crate::keys::{Keys, LEAF};
use crate::{CniArgs, Command, Dns, Error, Invocation, Version, near, raw};

const IP_RANGE: Keys =
    Keys(&[("subnet", LEAF), ("rangeStart", LEAF), ("rangeEnd", LEAF), ("gateway", LEAF)]);

const REQUESTS: Keys = Keys(&[("ips", LEAF), ("mac", LEAF)]);

/// Every key that is read here. `prevResult` has its own, see `result`.
pub(super) const KEYS: Keys = Keys(&[
    ("cniVersion", LEAF),
    ("name", LEAF),
    ("type", LEAF),
    ("rangeFile", LEAF),
    ("node", LEAF),
    ("mtu", LEAF),
    ("ipMasq", LEAF),
    ("ipMasqNodes", LEAF),
    ("fastPath", LEAF),
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
            ("bandwidth", LEAF),
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

    /// What is known of a network whose configuration is gone: its name. All else is as where it says nothing.
    ///
    /// # Errors
    /// No network can have this name.
    pub fn lost(name: &str) -> Result<NetworkConf, Error> {
        let value = json!({ "name": name, "type": "flatnet" });
        NetworkConf::validate(value, Version::V1_1_0, true, &CniArgs::default())
    }

    pub(super) fn validate(
        value: Value,
        cni_version: Version,
        lenient: bool,
        args: &CniArgs,
    ) -> Result<NetworkConf, Error> {
        let valid_attachments = fields::valid_attachments(&value);
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
        let bandwidth = raw.runtime_config.as_ref().and_then(|config| config.bandwidth.as_ref());
        let is_shaped = bandwidth.is_some_and(fields::limits);
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
            fast_path: fields.get(fields::fast_path(raw.fast_path.as_ref()))?,
            routes: fields.get(raw.routes.as_deref().map(fields::routes).transpose())?,
            state_dir: state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            log_level: fields.get(fields::log_level(raw.log_level.as_deref()))?,
            log_file: fields.get(fields::absolute_path(raw.log_file.as_deref(), "logFile"))?,
            dns: runtime_dns.or(raw.dns.map(Dns::from)).unwrap_or_default(),
            prev_result: fields.get(prev_result.transpose())?,
            requested_ips: fields.get(requests.ips())?,
            ip_ranges: fields.get(requests.ip_ranges())?,
            mac: fields.get(requests.mac())?,
            is_shaped,
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
