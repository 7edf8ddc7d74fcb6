//! The environment that a runtime calls a plugin with (CNI specification, section 2).

use std::ffi::OsString;
use std::path::PathBuf;

use crate::name::{interface_name_problem, is_identifier};
use crate::{CniArgs, Error};

/// What the runtime asks for in `CNI_COMMAND`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Attach a container to the network.
    Add,
    /// Say whether an attachment is still as ADD left it.
    Check,
    /// Detach a container.
    Del,
    /// Remove what belongs to none of the attachments listed.
    Gc,
    /// Say whether ADD can be served.
    Status,
    /// List the versions spoken.
    Version,
}

impl Command {
    const ALL: [Command; 6] = [
        Command::Add,
        Command::Check,
        Command::Del,
        Command::Gc,
        Command::Status,
        Command::Version,
    ];

    /// The command as written in `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Check => "CHECK",
            Command::Del => "DEL",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }

    fn required(self) -> &'static [&'static str] {
        match self {
            Command::Add | Command::Check => {
                &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            }
            Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Command::Gc | Command::Status => &["CNI_PATH"],
            Command::Version => &[],
        }
    }

    /// Whether the command is about one attachment, and so has a container and an interface.
    fn has_attachment(self) -> bool {
        matches!(self, Command::Add | Command::Check | Command::Del)
    }
}

/// The CNI environment, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC, STATUS and VERSION.
    pub container_id: String,
    /// `CNI_NETNS`, verbatim; `None` where it is empty (DEL) or has no meaning.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`; empty for GC, STATUS and VERSION.
    pub ifname: String,
    /// `CNI_PATH`, split at colons.
    pub path: Vec<PathBuf>,
    /// `CNI_ARGS`; nothing for GC, STATUS and VERSION, and for a DEL whose `CNI_ARGS` are wrong.
    pub args: CniArgs,
    /// `CNI_NETNS_OVERRIDE` is `1` or `true`: the container's namespace may be the plugin's own.
    pub netns_override: bool,
}

impl Invocation {
    /// Reads the environment through `get`, for example `|name| std::env::var_os(name)`. An
    /// empty variable counts as unset. All missing ones are named in one error, with code 4.
    ///
    /// Commands without an attachment ignore its variables: CRI-O probes VERSION with dummies.
    pub fn from_env(get: impl Fn(&str) -> Option<OsString>) -> Result<Invocation, Error> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let command = command(get("CNI_COMMAND"))?;
        let missing: Vec<_> =
            command.required().iter().filter(|name| get(name).is_none()).copied().collect();
        if !missing.is_empty() {
            return Err(Error::Environment(format!(
                "missing environment variables for {}: {}",
                command.as_str(),
                missing.join(", ")
            )));
        }

        let path = get("CNI_PATH").map(|path| std::env::split_paths(&path).collect());
        let mut invocation = Invocation {
            command,
            container_id: String::new(),
            netns: None,
            ifname: String::new(),
            path: path.unwrap_or_default(),
            args: CniArgs::default(),
            netns_override: get("CNI_NETNS_OVERRIDE")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
        };
        if command.has_attachment() {
            invocation.container_id = container_id(get("CNI_CONTAINERID"))?;
            invocation.ifname = ifname(get("CNI_IFNAME"))?;
            invocation.netns = get("CNI_NETNS").map(PathBuf::from);
            invocation.args = match args(get("CNI_ARGS")) {
                // What made the ADD fail must not keep the runtime from cleaning up.
                Err(_) if command == Command::Del => CniArgs::default(),
                args => args?,
            };
        }
        Ok(invocation)
    }
}

fn command(value: Option<OsString>) -> Result<Command, Error> {
    let names = Command::ALL.map(Command::as_str).join(", ");
    let Some(value) = value else {
        return Err(Error::Environment(format!(
            "missing environment variables: CNI_COMMAND (one of {names})"
        )));
    };
    Command::ALL.into_iter().find(|command| value == command.as_str()).ok_or_else(|| {
        Error::Environment(format!("CNI_COMMAND: {value:?} is unknown; it must be one of {names}"))
    })
}

fn container_id(value: Option<OsString>) -> Result<String, Error> {
    let text = utf8("CNI_CONTAINERID", value)?;
    if is_identifier(&text) {
        return Ok(text);
    }
    Err(Error::Environment(format!(
        "CNI_CONTAINERID: {text:?} must begin with a letter or digit and hold only letters, \
         digits, _, . and -"
    )))
}

fn ifname(value: Option<OsString>) -> Result<String, Error> {
    let text = utf8("CNI_IFNAME", value)?;
    match interface_name_problem(&text) {
        Some(problem) => Err(Error::Environment(format!("CNI_IFNAME: {text:?} {problem}"))),
        None => Ok(text),
    }
}

fn args(value: Option<OsString>) -> Result<CniArgs, Error> {
    CniArgs::parse(&utf8("CNI_ARGS", value)?)
}

fn utf8(name: &str, value: Option<OsString>) -> Result<String, Error> {
    value
        .unwrap_or_default()
        .into_string()
        .map_err(|value| Error::Environment(format!("{name}: {value:?} is not UTF-8")))
}

#[cfg(test)]
mod tests;
