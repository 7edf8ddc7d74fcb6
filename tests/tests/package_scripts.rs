//! What the scripts of the Debian packages do with systemd's units.

use std::fs;

use flatnet_tests::program::{command, executable, succeed, workspace};

#[test]
fn the_agents_scripts_enable_start_and_stop_its_service() {
    let enabled = [
        "deb-systemd-helper --quiet was-enabled flatnet-agent.service",
        "deb-systemd-helper enable flatnet-agent.service",
        "systemctl daemon-reload",
    ];
    let with = |last: &'static str| [&enabled[..], &[last]].concat();
    for (name, arguments, calls) in [
        ("postinst", &["configure"][..], with("deb-systemd-invoke start flatnet-agent.service")),
        (
            "postinst",
            &["configure", "0.0.9"],
            with("deb-systemd-invoke restart flatnet-agent.service"),
        ),
        ("prerm", &["remove"], vec!["deb-systemd-invoke stop flatnet-agent.service"]),
        ("prerm", &["upgrade", "0.2.0"], vec![]),
        ("postrm", &["purge"], vec!["deb-systemd-helper purge flatnet-agent.service", enabled[2]]),
    ] {
        let path = format!("agent/{name}");
        assert_eq!(script(&path, arguments, &[], SYSTEMD), calls, "{name} {arguments:?}");
        let root = [("DPKG_ROOT", "/nonexistent")];
        assert_eq!(script(&path, arguments, &root, SYSTEMD), [""; 0], "{name} {arguments:?}");
    }
}

/// Runs a script of the package on a machine that systemd runs or not, and returns the calls that it
/// made to systemd, by programs that write them down.
fn script(
    script: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    set_up: &str,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["systemctl", "deb-systemd-helper", "deb-systemd-invoke"] {
        let path = bin.join(name);
        // Nothing that manages devices runs here, and an administrator has disabled nothing.
        let answer = "case $* in *is-active*) exit 3 ;; esac";
        let text = format!("#!/bin/sh\necho \"${{0##*/}} $*\" >>{}\n{answer}\n", calls.display());
        executable(&path, text);
    }
    let path = workspace().join("packaging/debian").join(script);
    let commands = format!(
        "set -e; mount -t tmpfs scratch /run; {set_up}; PATH={}:$PATH; exec sh {} \"$@\"",
        bin.display(),
        path.display()
    );
    let mut unshare = command("unshare", ["--mount", "--propagation", "private", "sh", "-c"]);
    unshare.arg(commands).arg("sh").args(arguments).envs(environment.iter().copied());
    succeed(&mut unshare);
    let said = fs::read_to_string(&calls).unwrap_or_default();
    said.lines().filter(|line| !line.contains("is-active")).map(str::to_owned).collect()
}

const SYSTEMD: &str = "mkdir -p /run/systemd/system";

#[test]
fn the_scripts_enable_start_restart_and_stop_the_service() {
    const ENABLED: [&str; 2] = [
        "deb-systemd-helper --quiet was-enabled flatnet-sync.service",
        "deb-systemd-helper enable flatnet-sync.service",
    ];
    let reload = "systemctl daemon-reload";
    let docker = "systemctl try-restart flatnet-docker.service";
    let with = |more: &[&'static str]| [&ENABLED[..], more].concat();
    let cases: [(&str, &[&str], Vec<&str>); 9] = [
        (
            "postinst",
            &["configure"],
            with(&[reload, "deb-systemd-invoke start flatnet-sync.service", docker]),
        ),
        (
            "postinst",
            &["configure", "0.0.9"],
            with(&[reload, "deb-systemd-invoke restart flatnet-sync.service", docker]),
        ),
        (
            "postinst",
            &["abort-remove"],
            with(&[reload, "deb-systemd-invoke start flatnet-sync.service", docker]),
        ),
        ("postinst", &["triggered"], vec![]),
        ("prerm", &["upgrade", "0.2.0"], vec![]),
        (
            "prerm",
            &["remove"],
            vec![
                "deb-systemd-invoke stop flatnet-sync.service flatnet-docker.socket flatnet-docker.service",
            ],
        ),
        ("postrm", &["upgrade", "0.2.0"], vec![reload]),
        ("postrm", &["remove"], vec![reload]),
        (
            "postrm",
            &["purge"],
            vec!["deb-systemd-helper purge flatnet-sync.service flatnet-docker.socket", reload],
        ),
    ];
    for (name, arguments, calls) in cases {
        assert_eq!(script(name, arguments, &[], SYSTEMD), calls, "{name} {arguments:?}");
        // Without systemd, as in a chroot, it is enabled for the first start; in another's folder, as
        // when an image is made, nothing is done.
        let enables: Vec<_> =
            calls.into_iter().filter(|call| call.starts_with("deb-systemd-helper")).collect();
        assert_eq!(script(name, arguments, &[], "true"), enables, "{name} {arguments:?}");
        let root = [("DPKG_ROOT", "/nonexistent")];
        assert_eq!(script(name, arguments, &root, SYSTEMD), [""; 0], "{name} {arguments:?}");
    }
}

/// The helpers of Debian themselves, in a machine's folders that are only a test's.
#[test]
fn the_unit_is_enabled_for_the_next_start_and_a_purge_undoes_that() {
    let scripts = workspace().join("packaging/debian");
    let unit = workspace().join("packaging/systemd/flatnet-sync.service");
    let commands = format!(
        "set -e
         for folder in etc run usr var; do
             mkdir -p /mnt/$folder/upper /mnt/$folder/work
             mount -t overlay scratch \
                 -o lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work /$folder
         done
         rm -rf /run/systemd
         export DPKG_MAINTSCRIPT_PACKAGE=flatnet
         mkdir -p /usr/lib/systemd/system
         cp {unit} /usr/lib/systemd/system
         link=/etc/systemd/system/multi-user.target.wants/flatnet-sync.service
         sh {scripts}/postinst configure
         test \"$(readlink -f $link)\" = /usr/lib/systemd/system/flatnet-sync.service
         # What the administrator disables stays so.
         rm $link
         sh {scripts}/postinst configure 0.0.9
         test ! -e $link
         sh {scripts}/postrm remove
         sh {scripts}/postrm purge
         test ! -e /var/lib/systemd/deb-systemd-helper-enabled/flatnet-sync.service.dsh-also
         sh {scripts}/postinst configure
         test -e $link",
        unit = unit.display(),
        scripts = scripts.display()
    );
    let inside = format!("mount -t tmpfs scratch /mnt\n{commands}");
    succeed(&mut command("unshare", ["--mount", "--propagation", "private", "sh", "-c", &inside]));
}
