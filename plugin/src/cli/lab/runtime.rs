//! Calls the plugin as a container runtime does: the executable in the node's network namespace,
//! an environment of `CNI_*` variables and nothing else, the configuration on standard input.

use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::namespace_folder::file;
use super::record::{LabRecord, PodRecord};
use crate::cli::error::CommandError;
use crate::cli::output::complain;
use crate::kernel::netns::Netns;

/// The pods' interface.
const INTERFACE: &str = "eth0";

/// The runtime of one lab.
pub struct Runtime<'a> {
    plugin: &'a Path,
    folder: PathBuf,
    configuration: &'a Value,
}

impl<'a> Runtime<'a> {
    /// The runtime that the lab's record describes.
    pub fn new(record: &'a LabRecord) -> Self {
        let folder = record.plugin.parent().map(Path::to_owned).unwrap_or_default();
        Self { plugin: &record.plugin, folder, configuration: &record.configuration }
    }

    /// Attaches a pod, which asks for its addresses; the plugin's result.
    pub fn add(
        &self,
        node: &Netns,
        pod: &PodRecord,
        asked: &[IpAddr],
    ) -> Result<Value, CommandError> {
        let mut configuration = self.configuration.clone();
        configuration["args"] = json!({ "cni": { "ips": asked } });
        let output = self.call("ADD", node, pod, &configuration)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| failure("ADD", pod, format!("the result is not JSON: {e}")))
    }

    /// Detaches a pod, with the result of its ADD where that is known.
    pub fn del(&self, node: &Netns, pod: &PodRecord) -> Result<(), CommandError> {
        let mut configuration = self.configuration.clone();
        if !pod.result.is_null() {
            configuration["prevResult"] = pod.result.clone();
        }
        self.call("DEL", node, pod, &configuration).map(drop)
    }

    fn call(
        &self,
        verb: &'static str,
        node: &Netns,
        pod: &PodRecord,
        configuration: &Value,
    ) -> Result<Output, CommandError> {
        let mut command = Command::new(self.plugin);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &pod.netns)
            .env("CNI_NETNS", file(&pod.netns))
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_PATH", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A child starts in the namespace of the thread that starts it.
        let output = node
            .run(|| command.spawn())?
            .and_then(|child| converse(child, configuration.to_string().as_bytes()))
            .map_err(CommandError::file("run", self.plugin))?;
        if output.status.success() {
            // What a runtime would put into its log.
            for line in String::from_utf8_lossy(&output.stderr).lines() {
                complain(&format_args!("{verb} of pod {}: {line}", pod.netns));
            }
            return Ok(output);
        }
        Err(failure(verb, pod, complaint(&output)))
    }
}

/// Writes the configuration, then reads to the end. No plugin answers before it has read it all,
/// and pipes hold more than either side writes unread.
fn converse(mut child: Child, input: &[u8]) -> std::io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It ended without reading: what it said instead is the better message.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait_with_output()
}

fn failure(command: &'static str, pod: &PodRecord, message: String) -> CommandError {
    CommandError::Plugin { command, pod: pod.netns.clone(), message }
}

/// What the plugin said: its error object, else its standard error, else how it ended.
fn complaint(output: &Output) -> String {
    let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if let Some(message) = object["msg"].as_str() {
        let details = object["details"].as_str().filter(|details| !details.is_empty());
        let details = details.map(|details| format!("; {details}")).unwrap_or_default();
        return format!("{message}{details} (code {})", object["code"]);
    }
    match String::from_utf8_lossy(&output.stderr).trim() {
        "" => format!("the plugin said nothing ({})", output.status),
        words => format!("{words} ({})", output.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    #[test]
    fn the_plugins_own_words_are_shown() {
        let object = r#"{"cniVersion":"1.1.0","code":7,"msg":"no such node","details":"x"}"#;
        let cases = [
            (object, "a log line", 256, "no such node; x (code 7)"),
            ("", "panicked\n", 256, "panicked (exit status: 1)"),
            ("", "", 9, "the plugin said nothing (signal: 9 (SIGKILL))"),
        ];
        for (stdout, stderr, status, expected) in cases {
            let status = ExitStatus::from_raw(status);
            let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
            assert_eq!(complaint(&output), expected);
        }
    }
}
