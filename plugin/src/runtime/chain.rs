//! The plugins of a list, called one after another for one interface of one container, flatnet among them:
//! an executable as any other, so that a call of any runtime does the same.

use std::ffi::OsString;
use std::path::PathBuf;

use flatnet_conf::{AddResult, Version, complain};
use serde_json::{Map, Value, json};

use super::list::{List, Plugin, folders};
use crate::attachment::executable::Executable;
use crate::error::{Error, all};

/// The capability of plugins that publish ports (CNI's conventions document).
const PORTS: &str = "portMappings";
const FLATNET: &str = "flatnet";

/// An interface that a container is to have.
#[derive(Debug, Default)]
pub struct Wanted {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// The container's name, for people.
    pub name: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// What is asked for, by capability.
    pub asked: Map<String, Value>,
}

impl Wanted {
    fn publishes(&self) -> bool {
        self.asked.contains_key(PORTS)
    }

    fn environment(&self, folders: &[PathBuf]) -> Vec<(&'static str, OsString)> {
        let path = std::env::join_paths(folders).unwrap_or_default();
        let mut args = "IgnoreUnknown=1".to_owned();
        // A runtime's names have none of these; one that had would be read as something else.
        if !self.name.is_empty() && !self.name.contains([';', '=']) {
            args += &format!(";K8S_POD_NAME={}", self.name);
        }
        vec![
            ("CNI_CONTAINERID", self.container_id.clone().into()),
            ("CNI_NETNS", self.netns.clone().into()),
            ("CNI_IFNAME", self.ifname.clone().into()),
            ("CNI_ARGS", args.into()),
            ("CNI_PATH", path),
        ]
    }
}

/// Attaches it. What fails is undone.
///
/// # Errors
/// The words of the plugin that failed, or what is missing.
pub fn add(list: &List, wanted: &Wanted) -> Result<AddResult, String> {
    let called = called(list, wanted);
    if wanted.publishes() && publishers(list).is_empty() {
        return Err(no_publisher(list));
    }
    // All of them are there before the first is called.
    let folders = folders();
    for plugin in &called {
        find(kind(plugin), &folders)?;
    }
    let mut result = None;
    for plugin in &called {
        match call("ADD", list, plugin, wanted, &folders, result.as_ref()) {
            Ok(answer) => result = Some(answer),
            Err(e) => {
                if let Err(left) = del(list, wanted) {
                    complain("flatnet", &format_args!("undoing a failed ADD: {left}"));
                }
                return Err(e);
            }
        }
    }
    let fault = |e: &dyn std::fmt::Display| format!("the result of network {}: {e}", list.name);
    AddResult::from_json(&result.unwrap_or_default(), Version::V0_1_0).map_err(|e| fault(&e))
}

/// Detaches it, the last plugin first.
///
/// # Errors
/// All that failed, after all were called.
pub fn del(list: &List, wanted: &Wanted) -> Result<(), String> {
    let folders = folders();
    let plugins = called(list, wanted).into_iter().rev();
    all(plugins.map(|plugin| call("DEL", list, plugin, wanted, &folders, None).map(drop)))
}

/// Has those plugins called that publish ports, for a container that is attached already, as `result` says.
///
/// # Errors
/// As [`add`].
pub fn publish(list: &List, wanted: &Wanted, result: &Value) -> Result<(), String> {
    let folders = folders();
    let publishers = publishers(list);
    if publishers.is_empty() {
        return Err(no_publisher(list));
    }
    // The version that the list has is that of what it passes on.
    let version = list.version.as_ref().and_then(Value::as_str);
    let version = version.and_then(|version| Version::parse(version).ok());
    let before = AddResult::from_json(result, Version::V0_4_0).map_err(|e| e.to_string())?;
    let before = before.to_json(version.unwrap_or(Version::V0_4_0));
    for plugin in publishers {
        call("ADD", list, plugin, wanted, &folders, Some(&before))?;
    }
    Ok(())
}

/// Has them called for a container that goes. What is not installed has published nothing.
///
/// # Errors
/// All that failed, after all were called.
pub fn withdraw(list: &List, wanted: &Wanted) -> Result<(), String> {
    let folders = folders();
    let there = |plugin: &&Plugin| find(kind(plugin), &folders).is_ok();
    let plugins = publishers(list).into_iter().rev().filter(there);
    all(plugins.map(|plugin| call("DEL", list, plugin, wanted, &folders, None).map(drop)))
}

fn publishers(list: &List) -> Vec<&Plugin> {
    list.plugins.iter().filter(|plugin| has_capability(plugin, PORTS)).collect()
}

fn no_publisher(list: &List) -> String {
    format!(
        "ports cannot be published: no plugin of network {} has the capability {PORTS}; put portmap behind \
         flatnet in its configuration",
        list.name
    )
}

/// All but those that are there only to publish ports, if none are: of a machine without pods of CNI they may
/// not be there.
fn called<'a>(list: &'a List, wanted: &Wanted) -> Vec<&'a Plugin> {
    let only_ports = |plugin: &&Plugin| capabilities(plugin).eq([PORTS]);
    let plugins = list.plugins.iter();
    plugins.filter(|plugin| wanted.publishes() || !only_ports(plugin)).collect()
}

fn call(
    verb: &str,
    list: &List,
    plugin: &Plugin,
    wanted: &Wanted,
    folders: &[PathBuf],
    before: Option<&Value>,
) -> Result<Value, String> {
    let name = kind(plugin);
    let executable = find(name, folders)?.with(wanted.environment(folders));
    let input = input(list, plugin, wanted, before).to_string();
    let answer = executable.call(verb, input.as_bytes()).map_err(|e| match (&e, e.details()) {
        (Error::Delegate { .. }, details) if details.is_empty() => format!("{name}: {e}"),
        (Error::Delegate { .. }, details) => format!("{name}: {e} ({details})"),
        _ => e.to_string(),
    })?;
    match serde_json::from_slice(&answer) {
        Ok(answer) => Ok(answer),
        Err(_) if verb == "DEL" => Ok(Value::Null),
        Err(e) => Err(format!("{name}: cannot read its result: {e}")),
    }
}

/// What one plugin of the list gets on standard input (CNI 1.1.0, section 3, "Deriving runtime configuration").
fn input(list: &List, plugin: &Plugin, wanted: &Wanted, before: Option<&Value>) -> Value {
    let mut input = plugin.clone();
    input.remove("capabilities");
    input.insert("name".into(), json!(list.name));
    if let Some(version) = &list.version {
        input.insert("cniVersion".into(), version.clone());
    }
    if let Some(before) = before {
        input.insert("prevResult".into(), before.clone());
    }
    let is_for = |key: &str| match kind(plugin) {
        // Address and MAC are for the plugin that makes the interface.
        FLATNET => key != PORTS,
        _ => has_capability(plugin, key),
    };
    let asked = wanted.asked.iter().filter(|(key, _)| is_for(key));
    let asked: Map<String, Value> = asked.map(|(k, v)| (k.clone(), v.clone())).collect();
    if !asked.is_empty() {
        input.insert("runtimeConfig".into(), asked.into());
    }
    input.into()
}

fn kind(plugin: &Plugin) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn capabilities(plugin: &Plugin) -> impl Iterator<Item = &str> {
    let all = plugin.get("capabilities").and_then(Value::as_object);
    let on = all.into_iter().flatten().filter(|(_, on)| **on == Value::Bool(true));
    on.map(|(key, _)| key.as_str())
}

fn has_capability(plugin: &Plugin, wanted: &str) -> bool {
    capabilities(plugin).any(|key| key == wanted)
}

fn find(name: &str, folders: &[PathBuf]) -> Result<Executable, String> {
    if name == FLATNET {
        // This one, of this release, under whatever name it was called.
        return Ok(Executable::at("/proc/self/exe".into()));
    }
    // A name that is a path would lead out of the folders.
    let found = (!name.contains('/')).then(|| Executable::find(name, folders)).flatten();
    found.ok_or_else(|| {
        let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        format!("plugin {name:?} is in none of {}; install it there", folders.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(plugins: Value) -> List {
        let plugins = serde_json::from_value(plugins).unwrap();
        List { name: "pods".into(), version: Some(json!("1.0.0")), plugins }
    }

    fn wanted(asked: Value) -> Wanted {
        let asked = serde_json::from_value(asked).unwrap();
        Wanted { container_id: "c1".into(), asked, ..Wanted::default() }
    }

    #[test]
    fn each_plugin_gets_what_it_can_do() {
        let list = list(json!([
            { "type": "flatnet", "rangeFile": "/r.json" },
            { "type": "portmap", "snat": true, "capabilities": { "portMappings": true, "ips": false } },
        ]));
        let ports = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
        let wanted = wanted(json!({ "ips": ["10.1.1.7"], "portMappings": ports }));
        let before = json!({ "ips": [] });
        assert_eq!(
            input(&list, &list.plugins[0], &wanted, None),
            json!({ "cniVersion": "1.0.0", "name": "pods", "type": "flatnet", "rangeFile": "/r.json",
                    "runtimeConfig": { "ips": ["10.1.1.7"] } })
        );
        assert_eq!(
            input(&list, &list.plugins[1], &wanted, Some(&before)),
            json!({ "cniVersion": "1.0.0", "name": "pods", "type": "portmap", "snat": true,
                    "prevResult": before, "runtimeConfig": { "portMappings": ports } })
        );
    }

    #[test]
    fn what_only_publishes_ports_is_called_for_ports() {
        let list = list(json!([
            { "type": "flatnet" },
            { "type": "portmap", "capabilities": { "portMappings": true } },
            { "type": "tuning" },
        ]));
        let types = |asked| -> Vec<String> {
            let wanted = wanted(asked);
            called(&list, &wanted).into_iter().map(|plugin| kind(plugin).to_owned()).collect()
        };
        assert_eq!(types(json!({})), ["flatnet", "tuning"]);
        assert_eq!(types(json!({ "portMappings": [] })), ["flatnet", "portmap", "tuning"]);
    }

    #[test]
    fn ports_need_one_who_publishes_them() {
        let list = list(json!([{ "type": "flatnet" }, { "type": "portmap" }]));
        let problem = add(&list, &wanted(json!({ "portMappings": [] }))).unwrap_err();
        assert!(problem.starts_with("ports cannot be published: no plugin of network pods"));
    }

    #[test]
    fn a_plugin_is_a_name_in_a_folder() {
        let folders = [PathBuf::from("/nonexistent")];
        for name in ["", "../sh", "/bin/sh", "none"] {
            let problem = find(name, &folders).unwrap_err();
            assert!(problem.ends_with("is in none of /nonexistent; install it there"), "{problem}");
        }
    }
}
