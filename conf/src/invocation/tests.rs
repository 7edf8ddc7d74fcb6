//! The environment, case by case.

use std::os::unix::ffi::OsStringExt;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Invocation, Error> {
    Invocation::from_env(|name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    })
}

const ADD: [(&str, &str); 5] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/c1"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin:/usr/lib/cni"),
];

fn add_with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    std::iter::once((name, value)).chain(ADD).collect()
}

#[test]
fn add() {
    let expected = Invocation {
        command: Command::Add,
        container_id: "c1".to_owned(),
        netns: Some("/run/netns/c1".into()),
        ifname: "eth0".to_owned(),
        path: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        args: CniArgs::default(),
        netns_override: false,
    };
    assert_eq!(read(&ADD).unwrap(), expected);
    let args = read(&add_with("CNI_ARGS", "K8S_POD_NAME=web")).unwrap().args;
    assert_eq!(args.pod_name.as_deref(), Some("web"));
}

#[test]
fn netns_override() {
    for (value, expected) in
        [("1", true), ("true", true), ("TRUE", true), ("0", false), ("", false)]
    {
        let invocation = read(&add_with("CNI_NETNS_OVERRIDE", value)).unwrap();
        assert_eq!(invocation.netns_override, expected, "{value}");
    }
}

#[test]
fn all_missing_in_one_error() {
    let cases = [
        ("ADD", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"),
        ("DEL", "CNI_CONTAINERID, CNI_IFNAME, CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ];
    for (command, missing) in cases {
        // Empty counts as unset.
        let error = read(&[("CNI_COMMAND", command), ("CNI_CONTAINERID", "")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("missing environment variables for {command}: {missing}")
        );
        assert_eq!(error.code(), 4);
    }
}

#[test]
fn only_what_is_missing() {
    let error = read(&[ADD[0], ADD[1], ADD[3]]).unwrap_err();
    assert_eq!(error.to_string(), "missing environment variables for ADD: CNI_NETNS, CNI_PATH");
}

#[test]
fn refuses() {
    let id = "must begin with a letter or digit and hold only letters, digits, _, . and -";
    let commands = "ADD, CHECK, DEL, GC, STATUS, VERSION";
    let cases = [
        (
            "CNI_COMMAND",
            "",
            format!("missing environment variables: CNI_COMMAND (one of {commands})"),
        ),
        (
            "CNI_COMMAND",
            "add",
            format!("CNI_COMMAND: \"add\" is unknown; it must be one of {commands}"),
        ),
        ("CNI_CONTAINERID", "../x", format!("CNI_CONTAINERID: \"../x\" {id}")),
        ("CNI_IFNAME", "..", "CNI_IFNAME: \"..\" must be neither . nor ..".to_owned()),
        (
            "CNI_IFNAME",
            "a/b",
            "CNI_IFNAME: \"a/b\" must not hold /, :, %, white space or control \
             characters"
                .to_owned(),
        ),
        (
            "CNI_IFNAME",
            "0123456789abcdef",
            "CNI_IFNAME: \"0123456789abcdef\" must have 1 to 15 bytes".to_owned(),
        ),
        (
            "CNI_ARGS",
            "X=1",
            "CNI_ARGS: unknown keys \"X\"; add IgnoreUnknown=1 to pass them over".to_owned(),
        ),
    ];
    for (name, value, message) in cases {
        let error = read(&add_with(name, value)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), 4);
    }
}

#[test]
fn not_utf8() {
    let error = Invocation::from_env(|name| match name {
        "CNI_IFNAME" => Some(OsString::from_vec(vec![b'a', 0xff])),
        _ => ADD.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()),
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "CNI_IFNAME: \"a\\xFF\" is not UTF-8");
    assert_eq!(error.code(), 4);
}

#[test]
fn del_is_lenient() {
    let del = [
        ("CNI_COMMAND", "DEL"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", ""),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("CNI_ARGS", "nonsense"),
    ];
    let invocation = read(&del).unwrap();
    assert_eq!(invocation.netns, None);
    assert_eq!(invocation.args, CniArgs::default());
}

#[test]
fn commands_without_attachment_ignore_its_variables() {
    for command in ["GC", "STATUS", "VERSION"] {
        let dummies = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "/dummy/"),
            ("CNI_NETNS", "dummy"),
            ("CNI_IFNAME", "dummy that is too long"),
            ("CNI_PATH", "dummy"),
            ("CNI_ARGS", "dummy"),
        ];
        let invocation = read(&dummies).unwrap();
        assert_eq!(invocation.container_id, "", "{command}");
        assert_eq!(invocation.ifname, "", "{command}");
        assert_eq!(invocation.netns, None, "{command}");
        assert_eq!(invocation.args, CniArgs::default(), "{command}");
    }
    assert_eq!(read(&[("CNI_COMMAND", "VERSION")]).unwrap().command, Command::Version);
}
