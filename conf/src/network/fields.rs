//! The rule of each field of the network configuration.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::document::invalid;
use super::{AttachmentId, FastPath, LogLevel, VALID_ATTACHMENTS};
use crate::address::{parse_canonical, parse_requested};
use crate::error::Broken;
use crate::name::{is_identifier, node_name_problem};
use crate::span::overlap;
use crate::{AddResult, CniArgs, Error, Mac, Range, Version, raw};

/// What becomes of a field that breaks its rule.
pub(crate) struct Fields {
    /// It counts as absent.
    pub(crate) lenient: bool,
}

impl Fields {
    pub(crate) fn get<T: Default, E: Into<Error>>(&self, field: Result<T, E>) -> Result<T, Error> {
        match field {
            Err(_) if self.lenient => Ok(T::default()),
            field => field.map_err(Into::into),
        }
    }
}

/// Fields are all of one document, so a broken rule needs no more to become an error.
impl From<Broken> for Error {
    fn from(broken: Broken) -> Error {
        invalid(broken)
    }
}

pub(crate) fn name(text: Option<&str>) -> Result<String, Broken> {
    let problem = match text {
        Some(text) if is_identifier(text) => return Ok(text.to_owned()),
        Some(text) => format!(
            "{text:?} must begin with a letter or digit and hold only letters, digits, _, . and -"
        ),
        None => "is missing; give the network a name".to_owned(),
    };
    Err(Broken::new(problem).under("name"))
}

/// Whatever the executable is called: the runtime has found it by this.
pub(crate) fn kind(text: Option<&str>) -> Result<(), Broken> {
    match text {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(Broken::new("is missing; write the plugin's name, \"flatnet\"").under("type")),
    }
}

/// The built-in IPAM is none; any other is an executable that is looked for in `CNI_PATH`, so its
/// name must not lead out of there.
pub(crate) fn ipam(ipam: Option<&raw::Ipam>) -> Result<Option<String>, Broken> {
    match ipam.and_then(|ipam| ipam.kind.as_deref()) {
        None | Some("" | "flatnet-ipam") => Ok(None),
        // It would call itself, and that one itself again.
        Some("flatnet") => {
            let problem = "\"flatnet\" is no IPAM plugin; leave ipam out to use the built-in one, \
                           \"flatnet-ipam\"";
            Err(Broken::new(problem).under("ipam.type"))
        }
        Some(name) if name.contains(['/', '\0']) || name == "." || name == ".." => {
            let problem = format!(
                "{name:?} is not the name of a plugin; write one that lies in CNI_PATH, as \
                 \"host-local\", or leave ipam out"
            );
            Err(Broken::new(problem).under("ipam.type"))
        }
        Some(name) => Ok(Some(name.to_owned())),
    }
}

pub(crate) fn absolute_path(text: Option<&str>, field: &str) -> Result<Option<PathBuf>, Broken> {
    let Some(text) = text else { return Ok(None) };
    if Path::new(text).is_absolute() && !text.contains('\0') {
        return Ok(Some(text.into()));
    }
    Err(Broken::new(format!("{text:?} is not an absolute path")).under(field))
}

/// `meant` is a key that nearly is this one.
pub(crate) fn required_range_file(
    path: Option<PathBuf>,
    meant: Option<&str>,
) -> Result<Option<PathBuf>, Broken> {
    path.map(Some).ok_or_else(|| range_file_missing(meant))
}

pub(crate) fn range_file_missing(meant: Option<&str>) -> Broken {
    let problem = match meant {
        Some(key) => format!("is missing; did you mean rangeFile by {key:?}?"),
        None => "is missing; give the absolute path of the range file".to_owned(),
    };
    Broken::new(problem).under("rangeFile")
}

pub(crate) fn node(name: Option<String>) -> Result<Option<String>, Broken> {
    match name.as_deref().and_then(node_name_problem) {
        Some(problem) => {
            let name = name.unwrap_or_default();
            Err(Broken::new(format!("{name:?} {problem}")).under("node"))
        }
        None => Ok(name),
    }
}

/// The kernel's least for IPv4 (`ETH_MIN_MTU`) and the most that an IP header can say.
pub(crate) fn mtu(value: Option<u64>) -> Result<Option<u32>, Broken> {
    let Some(value) = value else { return Ok(None) };
    match u32::try_from(value) {
        Ok(mtu @ 68..=65_535) => Ok(Some(mtu)),
        _ => Err(Broken::new(format!("{value} is out of range; use 68 to 65535")).under("mtu")),
    }
}

pub(crate) fn fast_path(value: Option<&Value>) -> Result<FastPath, Broken> {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => Ok(FastPath::Off),
        Some(Value::Bool(true)) => Ok(FastPath::On),
        Some(Value::String(text)) if text == "uplink" => Ok(FastPath::Uplink),
        Some(other) => {
            let problem = format!("{other} is unknown; use true, false or \"uplink\"");
            Err(Broken::new(problem).under("fastPath"))
        }
    }
}

/// Whether a limit is asked for; of 0 the plugin bandwidth makes none.
pub(crate) fn limits(bandwidth: &Value) -> bool {
    let limits = |key| bandwidth.get(key).and_then(Value::as_f64).is_some_and(|rate| rate > 0.0);
    ["ingressRate", "egressRate"].into_iter().any(limits)
}

pub(crate) fn log_level(text: Option<&str>) -> Result<LogLevel, Broken> {
    match text {
        None => Ok(LogLevel::default()),
        Some("error") => Ok(LogLevel::Error),
        Some("warn") => Ok(LogLevel::Warn),
        Some("info") => Ok(LogLevel::Info),
        Some("debug") => Ok(LogLevel::Debug),
        Some(text) => {
            let problem = format!("{text:?} is unknown; use error, warn, info or debug");
            Err(Broken::new(problem).under("logLevel"))
        }
    }
}

pub(crate) fn routes(raw: &[raw::Route]) -> Result<Vec<IpNetwork>, Broken> {
    let mut routes = Vec::with_capacity(raw.len());
    let mut seen = HashMap::with_capacity(raw.len());
    for (index, route) in raw.iter().enumerate() {
        let at = |problem: String, field: &str| {
            Broken::new(problem).under(format_args!("routes[{index}].{field}"))
        };
        let dst = parse_canonical(&route.dst).map_err(|problem| at(problem, "dst"))?;
        if let Some(other) = seen.insert(dst, index) {
            return Err(at(format!("\"{dst}\" is also routes[{other}].dst; name it once"), "dst"));
        }
        if let Some(gateway) = &route.gw {
            let problem = format!("{gateway:?} cannot be: the node is the gateway; leave gw out");
            return Err(at(problem, "gw"));
        }
        routes.push(dst);
    }
    Ok(routes)
}

pub(crate) fn prev_result(value: &Value, version: Version) -> Result<AddResult, Broken> {
    crate::result::read(value, version).map_err(|broken| broken.under("prevResult"))
}

/// The attachments that the runtime knows; `None` if it does not say.
pub(crate) fn valid_attachments(value: &Value) -> Result<Option<Vec<AttachmentId>>, Broken> {
    let list = VALID_ATTACHMENTS.iter().find_map(|key| value.get(*key));
    list.map(attachments).transpose()
}

pub(crate) fn attachments(value: &Value) -> Result<Vec<AttachmentId>, Broken> {
    let broken = |problem: String| Broken::new(problem).under(VALID_ATTACHMENTS[0]);
    let Some(list) = value.as_array() else {
        let none = value.is_null();
        return if none { Ok(Vec::new()) } else { Err(broken(format!("{value} is not a list"))) };
    };
    list.iter()
        .map(|item| {
            let text = |key| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let (container_id, ifname) =
                text("containerID").zip(text("ifname")).ok_or_else(|| {
                    broken(format!("{item} must have containerID and ifname, both strings"))
                })?;
            Ok(AttachmentId { container_id, ifname })
        })
        .collect()
}

/// What is asked for one attachment, by those who may ask, the first before the others.
pub(crate) struct Requests<'a> {
    runtime_config: Option<raw::RuntimeConfig>,
    args: Option<raw::CniArgs>,
    environment: &'a CniArgs,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(
        runtime_config: Option<raw::RuntimeConfig>,
        args: Option<raw::Args>,
        environment: &'a CniArgs,
    ) -> Requests<'a> {
        Requests { runtime_config, args: args.and_then(|args| args.cni), environment }
    }

    /// An empty list asks for nothing, and leaves it to the next who may ask.
    pub(crate) fn ips(&self) -> Result<Vec<IpAddr>, Broken> {
        let asked = self.runtime_ips()?;
        if !asked.is_empty() {
            return Ok(asked);
        }
        let asked = self.args_ips()?;
        Ok(if asked.is_empty() { self.environment.ip.clone() } else { asked })
    }

    /// What all of them ask for, each address once: host-local's way.
    pub(crate) fn every_ip(&self) -> Result<Vec<IpAddr>, Broken> {
        let lists = [self.environment.ip.clone(), self.args_ips()?, self.runtime_ips()?];
        let mut seen = HashSet::new();
        Ok(lists.into_iter().flatten().filter(|address| seen.insert(*address)).collect())
    }

    fn runtime_ips(&self) -> Result<Vec<IpAddr>, Broken> {
        let texts = self.runtime_config.as_ref().and_then(|config| config.ips.as_deref());
        addresses(texts.unwrap_or_default(), "runtimeConfig.ips")
    }

    fn args_ips(&self) -> Result<Vec<IpAddr>, Broken> {
        let texts = self.args.as_ref().and_then(|args| args.ips.as_deref());
        addresses(texts.unwrap_or_default(), "args.cni.ips")
    }

    /// The sets are one list here: an attachment has one address of a family, whatever the sets.
    pub(super) fn ip_ranges(&self) -> Result<Vec<Range>, Broken> {
        let sets = self.runtime_config.as_ref().and_then(|config| config.ip_ranges.as_deref());
        let mut ranges = Vec::new();
        for (i, set) in sets.unwrap_or_default().iter().enumerate() {
            for (j, raw) in set.iter().enumerate() {
                let range = Range::from_runtime(raw).map_err(|broken| {
                    broken.under(format_args!("runtimeConfig.ipRanges[{i}][{j}]"))
                })?;
                ranges.push(((i, j), range));
            }
        }
        let spans = ranges.iter().map(|(place, range)| (*place, range.start(), range.end()));
        if let Some([(i, j), (k, l)]) = overlap(spans) {
            let problem =
                format!("overlaps runtimeConfig.ipRanges[{i}][{j}]; ask for each part once");
            return Err(
                Broken::new(problem).under(format_args!("runtimeConfig.ipRanges[{k}][{l}]"))
            );
        }
        Ok(ranges.into_iter().map(|(_, range)| range).collect())
    }

    /// An empty text asks for nothing.
    pub(crate) fn mac(&self) -> Result<Option<Mac>, Broken> {
        let runtime = self.runtime_config.as_ref().and_then(|config| config.mac.as_ref());
        let args = self.args.as_ref().and_then(|args| args.mac.as_ref());
        for (text, field) in [(runtime, "runtimeConfig.mac"), (args, "args.cni.mac")] {
            let Some(text) = text.filter(|text| !text.is_empty()) else { continue };
            return text
                .parse()
                .map(Some)
                .map_err(|problem: String| Broken::new(problem).under(field));
        }
        Ok(self.environment.mac)
    }
}

fn addresses(texts: &[String], field: &str) -> Result<Vec<IpAddr>, Broken> {
    let address = |(index, text): (usize, &String)| {
        parse_requested(text)
            .map_err(|problem| Broken::new(problem).under(format_args!("{field}[{index}]")))
    };
    texts.iter().enumerate().map(address).collect()
}
