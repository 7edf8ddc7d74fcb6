//! Programs that configure network devices of their own accord, and would take ours for theirs.

use std::fs;
use std::path::Path;

use crate::cli::finding::{Finding, some};
use crate::kernel::{Dev, KernelError, Netlink, Observe as _};

/// How such a program is recognised, and how it is told to leave devices alone.
struct Manager {
    name: &'static str,
    /// Its process by the kernel's name, of at most 15 characters: what it leaves in `/run` stays
    /// when it ends.
    process: &'static str,
    /// Where it notes what it does with a device, in a file named by its index, and the lines that
    /// say that it configures it.
    devices: &'static str,
    configures: &'static [&'static str],
    /// Where its configuration may be; of files that end so.
    folders: [&'static str; 3],
    end: &'static str,
    /// A file that has one of these and names our devices leaves them alone.
    keys: &'static [&'static str],
    /// Such a file, in the place where no other overrules it, and its text: the one that packages
    /// install.
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
        process: "NetworkManager",
        devices: "run/NetworkManager/devices",
        configures: &["managed=true"],
        folders: [
            "etc/NetworkManager/conf.d",
            "run/NetworkManager/conf.d",
            "usr/lib/NetworkManager/conf.d",
        ],
        end: ".conf",
        keys: &["managed=0", "unmanaged-devices"],
        file: "/etc/NetworkManager/conf.d/zz-flatnet.conf",
        text: include_str!("../../../../packaging/network/NetworkManager.conf"),
        reload: "nmcli general reload conf",
    },
    Manager {
        name: "systemd-networkd",
        process: "systemd-network",
        devices: "run/systemd/netif/links",
        configures: &["ADMIN_STATE=configuring", "ADMIN_STATE=configured", "ADMIN_STATE=failed"],
        folders: ["etc/systemd/network", "run/systemd/network", "usr/lib/systemd/network"],
        end: ".network",
        keys: &["Unmanaged=yes"],
        file: "/etc/systemd/network/00-flatnet.network",
        text: include_str!("../../../../packaging/network/00-flatnet.network"),
        reload: "networkctl reload",
    },
];

/// Asks which devices are ours, and looks whether another program configures them. `sync` is the
/// command that puts them right afterwards.
pub fn check(sync: &str) -> Result<Vec<Finding>, KernelError> {
    let ours = |alias: &Option<String>| alias.as_ref().is_some_and(|a| a.starts_with("flatnet:"));
    let links = Netlink::open()?.links()?.into_iter().filter(|link| ours(&link.alias));
    let devices: Vec<Dev> = links.map(|link| link.dev).collect();
    Ok(look(Path::new("/"), &devices, sync))
}

/// Looks below a root folder.
fn look(root: &Path, devices: &[Dev], sync: &str) -> Vec<Finding> {
    let running = MANAGERS.iter().filter(|manager| runs(root, manager.process));
    running.filter_map(|manager| manager.judge(root, devices, sync)).collect()
}

/// Whether a process of that name works in this network namespace.
fn runs(root: &Path, name: &str) -> bool {
    let netns = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let here = netns(&root.join("proc/self"));
    let is_named = |process: &Path| {
        fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let processes = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).any(|path| is_named(&path) && netns(&path) == here)
}

impl Manager {
    fn judge(&self, root: &Path, devices: &[Dev], sync: &str) -> Option<Finding> {
        let name = self.name;
        let has = devices.iter().filter(|dev| self.configures(root, dev.index));
        let has: Vec<&str> = has.map(|dev| &dev.name[..]).collect();
        let what = match (self.is_told(root), &has[..]) {
            (true, []) => return None,
            (false, []) => format!("{name} runs and is not told to leave flatnet's devices alone"),
            (false, has) => {
                format!("{name} configures {}, and is not told to leave them alone", some(has))
            }
            (true, has) => format!(
                "{name} configures {}, and has not read or does not heed that it is told to leave \
                 them alone",
                some(has)
            ),
        };
        let Self { file, text, reload, .. } = self;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let text: String = lines.map(|line| format!("{line}\\n")).collect();
        Some(Finding::run(
            what,
            "it takes away addresses, routes and neighbour entries that are not its own",
            format!("printf '{text}' > {file} && {reload} && {sync}"),
        ))
    }

    fn configures(&self, root: &Path, index: u32) -> bool {
        let note = fs::read_to_string(root.join(self.devices).join(index.to_string()));
        note.is_ok_and(|note| note.lines().any(|line| self.configures.contains(&line)))
    }

    fn is_told(&self, root: &Path) -> bool {
        let folders = self.folders.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok());
        let files = folders.flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut texts = files
            .filter(|path| path.to_string_lossy().ends_with(self.end))
            .filter_map(|path| fs::read_to_string(path).ok());
        texts.any(|text| text.contains(OVERLAYS) && self.keys.iter().any(|key| text.contains(key)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::finding::Mend;

    struct Root(tempfile::TempDir);

    impl Root {
        /// A machine where these processes run, each in a namespace.
        fn with(processes: &[(&str, &str)]) -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            for (pid, (name, netns)) in [("self", ("doctor", "net:[1]"))]
                .into_iter()
                .chain(["7", "8", "9"].into_iter().zip(processes.iter().copied()))
            {
                root.write(&format!("proc/{pid}/comm"), &format!("{name}\n"));
                fs::create_dir(root.0.path().join(format!("proc/{pid}/ns"))).unwrap();
                symlink(netns, root.0.path().join(format!("proc/{pid}/ns/net"))).unwrap();
            }
            root
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn found(&self) -> Vec<Finding> {
            let dev = |index, name: &str| Dev { index, name: name.into() };
            look(self.0.path(), &[dev(3, "flat.7"), dev(4, "veth1")], "flatnet sync")
        }
    }

    fn both() -> Root {
        Root::with(&[("NetworkManager", "net:[1]"), ("systemd-network", "net:[1]")])
    }

    fn run(finding: &Finding) -> &str {
        match &finding.mend {
            Mend::Run(command) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_manager_that_runs_must_know_our_devices() {
        let root = both();
        let found = root.found();
        assert_eq!(found.len(), 2);
        assert!(found[0].what.starts_with("NetworkManager runs"), "{found:?}");
        assert_eq!(
            run(&found[0]),
            "printf '[device-flatnet]\\nmatch-device=interface-name:flat.*;interface-name:veth\
             ???????????\\nmanaged=0\\n[keyfile]\\nunmanaged-devices+=interface-name:flat.*;\
             interface-name:veth???????????\\n' > /etc/NetworkManager/conf.d/zz-flatnet.conf && \
             nmcli general reload conf && flatnet sync"
        );
        assert!(run(&found[1]).ends_with(" && networkctl reload && flatnet sync"), "{found:?}");

        for manager in &MANAGERS {
            root.write(&manager.file[1..], manager.text);
        }
        assert_eq!(root.found(), []);
        root.write("etc/systemd/network/00-flatnet.network", "[Match]\nName=eth*\n");
        assert_eq!(root.found().len(), 1);
    }

    #[test]
    fn one_that_does_not_run_here_does_no_harm() {
        let ended = Root::with(&[]);
        ended.write("run/NetworkManager/devices/3", "[device]\nmanaged=true\n");
        ended.write("run/systemd/netif/links/3", "ADMIN_STATE=configured\n");
        assert_eq!(ended.found(), []);
        let elsewhere = Root::with(&[("NetworkManager", "net:[2]"), ("bash", "net:[1]")]);
        assert_eq!(elsewhere.found(), []);
    }

    #[test]
    fn what_one_does_counts_more_than_what_it_is_told() {
        let root = both();
        for manager in &MANAGERS {
            root.write(&manager.file[1..], manager.text);
        }
        root.write("run/NetworkManager/devices/2", "[device]\nmanaged=true\n");
        root.write("run/NetworkManager/devices/3", "[device]\nmanaged=false\n");
        root.write("run/systemd/netif/links/3", "ADMIN_STATE=unmanaged\n");
        assert_eq!(root.found(), []);
        root.write("run/NetworkManager/devices/3", "[device]\nmanaged=true\n");
        root.write("run/systemd/netif/links/4", "ADMIN_STATE=configuring\n");
        let found: Vec<_> = root.found().into_iter().map(|finding| finding.what).collect();
        let lead =
            ["NetworkManager configures flat.7, and has", "systemd-networkd configures veth1,"];
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().zip(lead).all(|(what, lead)| what.starts_with(lead)), "{found:?}");
    }
}
