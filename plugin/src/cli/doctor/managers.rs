//! Programs that configure network devices of their own accord, and would take ours for theirs.

use std::fs;
use std::path::Path;

use super::finding::Finding;

/// A program that is running, and how it is told to leave devices alone.
struct Manager {
    name: &'static str,
    /// There while it runs.
    runs: &'static str,
    /// Where its configuration may be; of files that end so.
    folders: [&'static str; 3],
    end: &'static str,
    /// A file that has one of these and names our devices leaves them alone.
    keys: &'static [&'static str],
    /// Such a file, and its text: the one that packages install.
    file: &'static str,
    text: &'static str,
    /// Makes it read the file.
    reload: &'static str,
}

/// The names of our devices, in the way that both programs write patterns.
const OVERLAYS: &str = "flat.*";

const MANAGERS: [Manager; 2] = [
    Manager {
        name: "NetworkManager",
        runs: "run/NetworkManager",
        folders: [
            "etc/NetworkManager/conf.d",
            "run/NetworkManager/conf.d",
            "usr/lib/NetworkManager/conf.d",
        ],
        end: ".conf",
        keys: &["managed=0", "unmanaged-devices"],
        file: "/etc/NetworkManager/conf.d/flatnet.conf",
        text: include_str!("../../../../packaging/network/NetworkManager.conf"),
        reload: "nmcli general reload conf",
    },
    Manager {
        name: "systemd-networkd",
        runs: "run/systemd/netif/state",
        folders: ["etc/systemd/network", "run/systemd/network", "usr/lib/systemd/network"],
        end: ".network",
        keys: &["Unmanaged=yes"],
        file: "/etc/systemd/network/10-flatnet.network",
        text: include_str!("../../../../packaging/network/10-flatnet.network"),
        reload: "networkctl reload",
    },
];

/// Looks below a root folder.
pub fn check(root: &Path) -> Vec<Finding> {
    let meddle = MANAGERS
        .iter()
        .filter(|manager| root.join(manager.runs).exists() && !manager.leaves_alone(root));
    meddle.map(Manager::finding).collect()
}

impl Manager {
    fn leaves_alone(&self, root: &Path) -> bool {
        let folders = self.folders.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok());
        let files = folders.flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut texts = files
            .filter(|path| path.to_string_lossy().ends_with(self.end))
            .filter_map(|path| fs::read_to_string(path).ok());
        texts.any(|text| text.contains(OVERLAYS) && self.keys.iter().any(|key| text.contains(key)))
    }

    fn finding(&self) -> Finding {
        let Self { name, file, text, reload, .. } = self;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let text: String = lines.map(|line| format!("{line}\\n")).collect();
        Finding::run(
            format!("{name} runs and is not told to leave flatnet's devices alone"),
            "it may take away their addresses and routes when it starts or reloads",
            format!("printf '{text}' > {file} && {reload}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_runs_must_know_our_devices() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("run/systemd/netif/links/2", "");
        assert_eq!(check(root.path()), [], "its folders stand also where it does not run");
        write("run/systemd/netif/state", "");
        write("run/NetworkManager/state", "");
        let found = check(root.path());
        assert_eq!(found.len(), 2);
        assert!(found[0].what.starts_with("NetworkManager runs"), "{found:?}");

        let run = |finding: &Finding| match &finding.mend {
            super::super::finding::Mend::Run(command) => command.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            run(&found[0]),
            "printf '[device-flatnet]\\nmatch-device=interface-name:flat.*;interface-name:veth\
             ???????????\\nmanaged=0\\n' > /etc/NetworkManager/conf.d/flatnet.conf && \
             nmcli general reload conf"
        );
        assert!(run(&found[1]).ends_with(" && networkctl reload"), "{found:?}");

        for manager in &MANAGERS {
            write(&manager.file[1..], manager.text);
        }
        assert_eq!(check(root.path()), []);
        write("etc/systemd/network/10-flatnet.network", "[Match]\nName=eth*\n");
        assert_eq!(check(root.path()).len(), 1);
    }
}
