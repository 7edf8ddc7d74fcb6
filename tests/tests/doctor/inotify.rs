//! A user whose inotify instances are used up.

use std::fs;
use std::process::{Child, Command, Stdio};

use flatnet_tests::cli::document;
use flatnet_tests::program::{bin_dir, finish, ours, said, system};
use flatnet_tests::wait::wait_for;
use serde_json::Value;

use super::scene::Scene;

const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// A user of this test's own, so that the others on this machine keep theirs.
const USER: &str = "54321";

/// As that user, with root's capabilities.
fn as_user(program: &str) -> Command {
    const CAPABILITIES: &str = "+net_admin,+net_raw,+sys_admin,+dac_override,+sys_ptrace";
    let mut command = Command::new(system("setpriv"));
    command.args(["--reuid", USER, "--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]);
    command.arg(program);
    command
}

/// Processes with an instance each, and the limit as it was: both are put back at the end.
struct UsedUp {
    holders: Vec<Child>,
    limit: String,
}

impl UsedUp {
    fn new() -> Self {
        let limit = fs::read_to_string(LIMIT).unwrap();
        let count: usize = limit.trim().parse().unwrap();
        let mut used_up = Self { holders: Vec::new(), limit };
        // One more, as the doctor may have one for a moment while another would take it.
        for _ in 0..=count {
            let mut tail = as_user("tail");
            tail.args(["-f", "/proc/self/status"]).stdin(Stdio::null()).stdout(Stdio::null());
            used_up.holders.push(tail.stderr(Stdio::null()).spawn().unwrap());
        }
        used_up
    }
}

impl Drop for UsedUp {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
        let _ = fs::write(LIMIT, &self.limit);
    }
}

#[test]
fn used_up_instances_are_named_with_the_limit() {
    let scene = Scene::new();
    let folders = [scene.net_d().display().to_string(), scene.bin().display().to_string()];
    let flatnet = |args: &[&str]| {
        let mut command = as_user(&ours("flatnet").display().to_string());
        command.env_remove("CNI_COMMAND").args(args).args(["--conf-dir", &folders[0]]);
        scene.node().netns.run(|| finish(&mut command, b""))
    };
    let findings = || -> Vec<Value> {
        let output = flatnet(&["doctor", "--json", "--cni-bin-dir", &folders[1]]);
        let code = output.status.code().unwrap_or_else(|| panic!("{}", said(&output)));
        document(&output, code)["findings"].as_array().unwrap().clone()
    };
    assert_eq!(findings(), Vec::<Value>::new());
    let _used_up = UsedUp::new();
    let found = wait_for("all instances to be taken", || findings().into_iter().next());
    let what = found["what"].as_str().unwrap();
    assert!(
        what.starts_with("no inotify instance is left") && what.contains("max_user_instances"),
        "{what}"
    );

    let output = flatnet(&["sync", "--watch"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stderr);
    let mend = found["command"].as_str().unwrap();
    let raises =
        format!("fs.inotify.max_user_instances is used up for this user; `{mend}` raises it");
    assert!(told.contains("cannot watch files: ") && told.contains(&raises), "{told}");

    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin_dir().display());
    let mended = finish(Command::new("sh").env("PATH", path).args(["-c", mend]), b"");
    assert!(mended.status.success(), "{}", said(&mended));
    assert_eq!(findings(), Vec::<Value>::new());
}
