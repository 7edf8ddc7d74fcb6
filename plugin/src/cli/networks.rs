//! The networks of this node: the configurations that the runtime has.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use flatnet_conf::NetworkConf;

use super::error::Error;

/// Where runtimes have their configurations if they are not told otherwise.
pub const CONF_DIR: &str = "/etc/cni/net.d";

/// Which networks a command is about.
#[derive(Args)]
pub struct Networks {
    /// CNI configuration files [default: every one in the folder that names flatnet]
    #[arg(value_name = "CONF")]
    files: Vec<PathBuf>,
    /// Folder of the CNI configurations
    #[arg(long, value_name = "DIR", default_value = CONF_DIR, conflicts_with = "files")]
    conf_dir: PathBuf,
}

impl Networks {
    /// The configuration files that may hold them.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn files(&self) -> Result<Vec<PathBuf>, Error> {
        if self.files.is_empty() { files(&self.conf_dir) } else { Ok(self.files.clone()) }
    }

    /// Another command about the same networks: `flatnet sync --conf-dir DIR`.
    pub fn command(&self, verb: &str) -> String {
        let mut words = vec!["flatnet".to_owned(), verb.into()];
        if self.conf_dir != Path::new(CONF_DIR) {
            words.push(format!("--conf-dir {}", self.conf_dir.display()));
        }
        words.extend(self.files.iter().map(|file| file.display().to_string()));
        words.join(" ")
    }

    /// Reads them, in the order of the arguments or of the file names.
    ///
    /// # Errors
    /// A file cannot be read or is wrong, or there is no configuration of flatnet at all.
    pub fn find(&self) -> Result<Vec<NetworkConf>, Error> {
        let (found, problems) = self.look();
        problems.into_iter().next().map_or(Ok(found), Err)
    }

    /// The same for a command that goes on: a file that is wrong does not hide the others.
    pub fn look(&self) -> (Vec<NetworkConf>, Vec<Error>) {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => return (Vec::new(), vec![error]),
        };
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for path in files {
            match read(&path) {
                Ok(networks) => found.extend(networks),
                Err(error) => problems.push(error),
            }
        }
        if found.is_empty() && problems.is_empty() {
            let looked = match self.files.first() {
                Some(file) => file.display(),
                None => self.conf_dir.display(),
            };
            problems.push(Error::Refused(format!(
                "no network of flatnet in {looked}; name a CNI configuration file, or its folder \
                 with --conf-dir"
            )));
        }
        (found, problems)
    }

    /// Files whose folders tell of another configuration.
    pub fn places(&self) -> Vec<PathBuf> {
        match self.files.is_empty() {
            true => vec![self.conf_dir.join("any")],
            false => self.files.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<NetworkConf>, Error> {
    let bytes = fs::read(path).map_err(Error::file("read", path))?;
    Ok(NetworkConf::parse_file(path, &bytes)?)
}

/// What a runtime takes for a configuration, by its name, in the order of the names.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file("list", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        if path.extension().is_some_and(|end| end == "conflist" || end == "conf" || end == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(folder: &Path) -> Result<Vec<NetworkConf>, Error> {
        Networks { files: Vec::new(), conf_dir: folder.to_owned() }.find()
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let network = |name: &str| {
            format!(r#"{{"name":"{name}","plugins":[{{"type":"flatnet","rangeFile":"/r.json"}}]}}"#)
        };
        for (file, text) in [
            ("20-b.conflist", network("b")),
            ("10-a.conflist", network("a")),
            ("99-loopback.conf", r#"{"type":"loopback"}"#.into()),
            ("10-a.conflist.bak", "{".into()),
        ] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let names: Vec<_> = find(folder.path()).unwrap().into_iter().map(|n| n.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn another_command_is_about_the_same_networks() {
        let networks = |files: &[&str], conf_dir: &str| Networks {
            files: files.iter().map(PathBuf::from).collect(),
            conf_dir: conf_dir.into(),
        };
        assert_eq!(networks(&[], CONF_DIR).command("sync"), "flatnet sync");
        assert_eq!(networks(&[], "/c").command("sync"), "flatnet sync --conf-dir /c");
        assert_eq!(networks(&["/a", "/b"], CONF_DIR).command("sync"), "flatnet sync /a /b");
    }

    #[test]
    fn none_is_an_error_that_says_where_was_looked() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("no network of flatnet in /"), "{error}");
        let error = find(Path::new("/nonexistent/net.d")).unwrap_err().to_string();
        assert!(error.starts_with("cannot list /nonexistent/net.d: "), "{error}");
    }
}
