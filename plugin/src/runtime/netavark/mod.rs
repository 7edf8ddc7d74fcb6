//! A network driver of netavark, which makes podman's networks: netavark calls the executable in its plugin
//! folder that has the driver's name (`flatnet create|setup NETNS|teardown NETNS|info`), with JSON on standard
//! input and output (`plugin-API.md` of netavark 2).
//!
//! What it asks for becomes calls of CNI with the network's own configuration, as podman 4 made them itself.

mod create;
mod protocol;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use flatnet_conf::{complain, one_line};
use flatnet_ipam::Key;
use serde_json::{Map, Value, json};

use crate::identity::veth_name;
use crate::kernel::{Netlink, Observe as _};
use crate::runtime::chain::{self, Wanted};
use crate::runtime::list::List;
use protocol::{CONF, Exec, Status};

/// The version of the protocol.
const API_VERSION: &str = "1.0.0";
/// More than any container's configuration: what is longer is a mistake.
const LONGEST_INPUT: u64 = 16 << 20;

/// Serves a call of netavark's, if the arguments are one.
pub fn serve(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let verb = arguments.next()?;
    let mut made = None;
    let answer = match (verb.to_str()?, arguments.next(), arguments.next()) {
        ("create", None, None) => create(),
        ("setup", Some(netns), None) => setup(netns, &mut made),
        ("teardown", Some(netns), None) => teardown(netns).map(|()| None),
        ("info", None, None) => Ok(Some(info())),
        _ => return None,
    };
    let Err(e) = print(&answer) else {
        return Some(if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    // netavark takes this for a failure, and asks for no teardown of what it was never told of.
    complain("flatnet", &format_args!("cannot write the answer: {e}"));
    if let Some(Err(e)) = made.map(|Made { list, wanted }| chain::del(&list, &wanted)) {
        complain("flatnet", &format_args!("undoing the setup: {e}"));
    }
    Some(ExitCode::FAILURE)
}

fn print(answer: &Result<Option<Value>, String>) -> io::Result<()> {
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(document)) => writeln!(io::stdout(), "{document}"),
        Err(problem) => writeln!(io::stdout(), "{}", json!({ "error": one_line(problem) })),
    }
}

/// What stands since a setup.
struct Made {
    list: List,
    wanted: Wanted,
}

fn info() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": API_VERSION })
}

fn create() -> Result<Option<Value>, String> {
    let network = judge(&read()?)?;
    let option = network["options"][CONF].as_str().map(Path::new);
    List::named(network["name"].as_str().unwrap_or_default(), option)?;
    Ok(Some(network))
}

/// What podman is to know of the network that it wants to create with this input.
///
/// # Errors
/// It cannot be had; in words for who asked.
pub fn judge(input: &[u8]) -> Result<Value, String> {
    create::judge(serde_json::from_slice(input).map_err(unreadable)?)
}

/// What the container of this input asks for, by CNI's capabilities.
///
/// # Errors
/// It is not what netavark sends, or cannot be had.
pub fn asked(input: &[u8]) -> Result<Map<String, Value>, String> {
    exec(input)?.asked()
}

/// What was `made` stands, whoever hears of it.
fn setup(netns: OsString, made: &mut Option<Made>) -> Result<Option<Value>, String> {
    let exec = exec(&read()?)?;
    let list = List::named(&exec.network.name, exec.network.conf())?;
    let asked = exec.asked()?;
    let wanted = wanted(exec, netns, asked)?;
    detach_earlier(&list, &wanted)?;
    let result = chain::add(&list, &wanted)?;
    let Made { wanted, .. } = made.insert(Made { list, wanted });
    let status = Status::of(&result, &wanted.ifname);
    Ok(Some(serde_json::to_value(status).map_err(|e| e.to_string())?))
}

/// A podman that was killed has forgotten what it had set up, and sets the container up once more, in another namespace.
/// The earlier one stays until the next reboot, and with it what is in there.
fn detach_earlier(list: &List, wanted: &Wanted) -> Result<(), String> {
    let veth = veth_name(&Key::new(&list.name, &wanted.container_id, &wanted.ifname));
    let stands =
        Netlink::open().and_then(|mut node| node.link(&veth)).map_err(|e| e.to_string())?;
    stands.map_or(Ok(()), |_| chain::del(list, wanted))
}

/// Goes on without the network's configuration, which may be gone before the last container.
fn teardown(netns: OsString) -> Result<(), String> {
    let exec = exec(&read()?)?;
    let list = List::named(&exec.network.name, exec.network.conf()).unwrap_or_else(|problem| {
        complain("flatnet", &format_args!("{problem}; going on without"));
        List::lost(&exec.network.name)
    });
    // What could not be asked for was not given.
    let asked = exec.asked().unwrap_or_default();
    chain::del(&list, &wanted(exec, netns, asked)?)
}

fn wanted(exec: Exec, netns: OsString, asked: Map<String, Value>) -> Result<Wanted, String> {
    let netns = netns.into_string().map_err(|netns| format!("{netns:?} is not UTF-8"))?;
    Ok(Wanted {
        container_id: exec.container_id,
        name: exec.container_name,
        netns,
        ifname: exec.network_options.interface_name,
        asked,
    })
}

fn exec(input: &[u8]) -> Result<Exec, String> {
    serde_json::from_slice(input).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> String {
    format!("standard input is not what netavark sends: {error}")
}

fn read() -> Result<Vec<u8>, String> {
    let mut input = Vec::new();
    let read = io::stdin().take(LONGEST_INPUT).read_to_end(&mut input);
    read.map_err(|e| format!("cannot read standard input: {e}"))?;
    Ok(input)
}
