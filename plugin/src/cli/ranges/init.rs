//! `flatnet ranges init`: a new range file, on standard output or in a new file.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use ipnetwork::IpNetwork;

use crate::cli::allot::{NodeAt, Prefixes, allot};
use crate::cli::error::CommandError;
use crate::cli::output::Answer;

/// Makes the range file and prints or writes it.
pub fn run(
    clusters: &[IpNetwork],
    nodes: &[NodeAt],
    prefixes: &[u8],
    output: Option<&Path>,
) -> Result<Answer, CommandError> {
    let prefixes = Prefixes::given(prefixes, clusters)?;
    let mut text = allot(clusters, nodes, prefixes)?.to_json();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match output {
        None => Ok(Answer::fine(text)),
        Some(path) => write_new(path, &text).map(|()| Answer::fine("")),
    }
}

/// Writes a file that must not be there yet: it may be the only copy of a cluster's addresses.
fn write_new(path: &Path, text: &str) -> Result<(), CommandError> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| {
        if e.kind() == ErrorKind::AlreadyExists {
            let path = path.display();
            return CommandError::Refused(format!(
                "{path} exists; remove it first, or name another file"
            ));
        }
        CommandError::file("create", path)(e)
    })?;
    file.write_all(text.as_bytes()).map_err(|e| {
        // Half a range file is worse than none.
        let _ = fs::remove_file(path);
        CommandError::file("write", path)(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatnet_conf::RangeFile;

    #[test]
    fn what_it_prints_is_a_range_file() {
        let clusters = ["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/56".parse().unwrap()];
        let nodes = [super::super::allot::node_at("node-a=192.168.50.1").unwrap()];
        let answer = run(&clusters, &nodes, &[26], None).unwrap();
        let file = RangeFile::parse(Path::new("x"), answer.text.as_bytes()).unwrap();
        assert_eq!(file.nodes[0].ranges[0].subnet().to_string(), "10.244.0.0/26");
        assert_eq!(file.nodes[0].ranges[1].subnet().to_string(), "fd00:10:244::/64");
        assert_eq!(file.cluster_cidrs, clusters);
    }

    #[test]
    fn an_existing_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.json");
        write_new(&path, "first").unwrap();
        let error = write_new(&path, "second").unwrap_err().to_string();
        assert!(error.ends_with("exists; remove it first, or name another file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }
}
