//! A call of a plugin as a container runtime makes it.

use std::path::Path;

use crate::process::Program;

/// The call of `verb` for the pod with this namespace; its name is the container's ID.
pub fn call(plugin: &Path, configuration: &str, verb: &str, pod: &Path) -> Program {
    let id = pod.file_name().expect("a namespace with a name").to_string_lossy().into_owned();
    let folder = plugin.parent().expect("a folder of executables");
    let env = [
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", id),
        ("CNI_NETNS", pod.display().to_string()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", folder.display().to_string()),
    ];
    let mut call = Program::new(plugin, [""; 0]);
    call.env = env.map(|(key, value)| (key.to_owned(), value)).into();
    call.stdin = configuration.as_bytes().to_vec();
    call
}
