//! A configuration or range file that cannot be used on this node.

use flatnet_conf::{Error as ConfError, NetworkConf};

use crate::cli::error::CommandError;
use crate::cli::finding::Finding;
use crate::cli::networks::Problem;
use crate::error::Error;
use crate::overlay::agent::author;
use crate::runtime::folder::LEFT_OUT;

/// A file of the configurations, or all of them, cannot be used.
pub fn unusable(problem: &Problem) -> Finding {
    let Problem { error, ours } = problem;
    let (what, mend) = split(&error.to_string());
    if !ours {
        // libcni passes folders by; containerd takes the first of a folder's files that it can use,
        // and stops at one that it cannot.
        let why = "it is not known to be flatnet's and was left out; a runtime that comes to it before \
                   it has its network, as containerd may, attaches no pod";
        return Finding::advise(what, why, format!("{}{LEFT_OUT}", clause(mend)));
    }
    let why = match error {
        CommandError::SameName(_) => {
            "what it says is not done on this node, and a runtime that goes by it contradicts the rest"
        }
        _ => "a runtime attaches no pod, or without an address",
    };
    let otherwise = match error {
        CommandError::File { action: "list", .. } => {
            "put a network configuration there (`flatnet install`), or name its folder with --conf-dir"
        }
        CommandError::File { .. } => "make it readable, or name another with --conf-dir",
        _ => "correct the file",
    };
    Finding::advise(what, why, mend.unwrap_or_else(|| otherwise.into()))
}

fn clause(mend: Option<String>) -> String {
    mend.map(|mend| format!("{mend}; ")).unwrap_or_default()
}

/// What is wrong with one network; `None` for what is no fault of its files but could not be seen.
pub fn broken(conf: &NetworkConf, error: &Error) -> Option<Finding> {
    let (author, file) = (author(conf), conf.range_file.clone().unwrap_or_default());
    let file = file.display().to_string();
    let what = error.to_string();
    let (what, mend) = match error {
        Error::Input(ConfError::Read { .. }) => (what, author.missing(&file)),
        Error::Input(ConfError::Node(_)) => (what, author.unlisted(&conf.name, &file)),
        Error::Input(_) => (what, author.damaged(&file)),
        Error::Clash(clash) => (clash.what().to_owned(), clash.mend()),
        Error::Configuration { .. } | Error::Foreign { .. } => {
            let (what, mend) = split(&what);
            (what, mend.unwrap_or_else(|| "see there".into()))
        }
        _ => return None,
    };
    let no_pod = "no pod is attached on this node, and changes of the cluster are not applied";
    Some(Finding::advise(what, no_pod, mend))
}

/// Our messages say what is wrong and then, behind the last semicolon, what to do.
fn split(message: &str) -> (String, Option<String>) {
    match message.rsplit_once("; ") {
        Some((what, mend)) => (what.into(), Some(mend.into())),
        None => (message.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Mend;
    use crate::runtime::folder::SameName;

    fn conf() -> NetworkConf {
        let text = r#"{"name":"pods","type":"flatnet","rangeFile":"/etc/pods.json"}"#;
        let path = std::path::Path::new("10-pods.conf");
        NetworkConf::parse_file(path, text.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn without_a_folder_there_is_nothing_to_correct() {
        let path = std::path::Path::new("/etc/cni/net.d");
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        let ours = |error| Problem { error, ours: true };
        let found = unusable(&ours(CommandError::file("list", path)(gone)));
        assert!(found.what.starts_with("cannot list /etc/cni/net.d: "), "{}", found.what);
        assert!(matches!(found.mend, Mend::Do(mend) if mend.contains("`flatnet install`")));
        let none =
            unusable(&ours(CommandError::Refused("no network in /n; name its folder".into())));
        assert_eq!(
            (&none.what[..], none.mend),
            ("no network in /n", Mend::Do("name its folder".into()))
        );
    }

    #[test]
    fn of_two_with_one_name_both_are_told() {
        let twice = SameName { name: "pods".into(), first: "/n/1".into(), path: "/n/2".into() };
        let found = unusable(&Problem { error: twice.into(), ours: true });
        assert_eq!(found.what, "/n/2: /n/1 has a network pods already, and counts");
        assert!(found.why.contains("not done on this node"), "{}", found.why);
        assert!(matches!(found.mend, Mend::Do(mend) if mend.starts_with("give this one another")));
    }

    #[test]
    fn each_fault_has_its_mend() {
        let invalid = flatnet_conf::RangeFile::parse(std::path::Path::new("/etc/pods.json"), b"{}");
        let table = [
            (Error::Input(invalid.unwrap_err()), "flatnet ranges check /etc/pods.json"),
            (Error::Input(ConfError::Node("none".into())), "set node in the configuration of"),
            (
                Error::Configuration { reason: "mtu: 9 is too much; leave mtu out".into() },
                "leave mtu out",
            ),
        ];
        for (error, words) in table {
            match broken(&conf(), &error).unwrap().mend {
                Mend::Do(mend) => assert!(mend.contains(words), "{mend}"),
                Mend::Run(command) => panic!("{command}"),
            }
        }
        assert_eq!(broken(&conf(), &Error::Several(Vec::new())), None);
    }
}
