//! The networks of this node: the configurations that the runtime has.

use std::path::{Path, PathBuf};

use clap::Args;
use flatnet_conf::{NetworkConf, read_file};

use super::error::CommandError;
use super::output::{Outcome, complain};
use crate::runtime::folder::{self, CONF_DIR};

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
    fn files(&self) -> Result<Vec<PathBuf>, CommandError> {
        if self.files.is_empty() {
            Ok(folder::files(&self.conf_dir)?)
        } else {
            Ok(self.files.clone())
        }
    }

    /// What is in each of those files that can be read; the others, and a folder that is not there, are
    /// problems of [`Networks::look`].
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.files().unwrap_or_default().into_iter();
        let content = |file: PathBuf| read_file(&file).ok().map(|bytes| (file, bytes));
        files.filter_map(content).collect()
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

    /// Reads them, in the order of the arguments or of the file names; of two with one name the first counts.
    /// What is wrong with a file that is not the only one is complained of, and does not hide the others.
    ///
    /// # Errors
    /// None can be used.
    pub fn find(&self) -> Result<Vec<NetworkConf>, CommandError> {
        self.usable().map(|(networks, _)| networks)
    }

    /// The same, and how a command ends that is about all of them: it failed if a file of flatnet's
    /// cannot be used. Another program's is its own trouble.
    ///
    /// # Errors
    /// None can be used.
    pub fn usable(&self) -> Result<(Vec<NetworkConf>, Outcome), CommandError> {
        let (found, mut problems) = self.look();
        if found.is_empty() {
            // What may be flatnet's explains more.
            problems.sort_by_key(|problem| !problem.ours);
            let mut problems = problems.into_iter();
            let first = problems.next();
            problems.for_each(|problem| complain(&problem));
            return Err(match first {
                Some(Problem { error, ours: true, .. }) => error,
                first => {
                    first.iter().for_each(|problem| complain(problem));
                    self.none()
                }
            });
        }
        problems.iter().for_each(|problem| complain(problem));
        let failed = problems.iter().any(|problem| problem.ours);
        Ok((found, if failed { Outcome::Failed } else { Outcome::Fine }))
    }

    /// The same for a command that goes on, whatever is wrong, and tells that itself.
    pub fn look(&self) -> (Vec<NetworkConf>, Vec<Problem>) {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => return (Vec::new(), vec![Problem::of_ours(error)]),
        };
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        let named = !self.files.is_empty();
        for read in folder::in_order(files) {
            match read {
                Ok(configuration) => found.extend(configuration.networks),
                Err(mut problem) => {
                    problem.ours |= named;
                    problems.push(problem.into());
                }
            }
        }
        if found.is_empty() && problems.is_empty() {
            problems.push(Problem::of_ours(self.none()));
        }
        (found, problems)
    }

    fn none(&self) -> CommandError {
        let looked = match self.files.first() {
            Some(file) => file.display(),
            None => self.conf_dir.display(),
        };
        CommandError::Refused(format!(
            "no network of flatnet in {looked}; name a CNI configuration file, or its folder with \
             --conf-dir"
        ))
    }

    /// Files whose folders tell of another configuration.
    pub fn places(&self) -> Vec<PathBuf> {
        match self.files.is_empty() {
            true => vec![self.conf_dir.join("any")],
            false => self.files.clone(),
        }
    }
}

/// What is wrong with a configuration file.
pub type Problem = folder::Problem<CommandError>;

impl From<folder::Problem> for Problem {
    fn from(problem: folder::Problem) -> Self {
        Self { error: problem.error.into(), ours: problem.ours }
    }
}

impl Problem {
    fn of_ours(error: CommandError) -> Self {
        Self { error, ours: true }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runtime::folder::LEFT_OUT;

    fn find(folder: &Path) -> Result<Vec<NetworkConf>, CommandError> {
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
    fn a_file_that_is_wrong_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        let utf16: Vec<u8> =
            r#"{"type":"flatnet"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::create_dir(folder.path().join("01-folder.conflist")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", folder.path().join("02-link.conf")).unwrap();
        let fifo = folder.path().join("03-fifo.json");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        put("04-binary.conflist", b"\x7fELF\0\0");
        put("05-theirs.conflist", br#"{"name":"b","plugins":[{"type":"bridge"},]}"#);
        put("06-fine.conflist", br#"{"cniVersion":"7","name":"b","plugins":[{"type":"bridge"}]}"#);
        put("10-pods.conf", br#"{"name":"pods","type":"flatnet","rangeFile":"/r.json"}"#);
        put("20-cut.conf", br#"{"name":"cut","type":"flatnet","#);
        put("21-version.conf", br#"{"cniVersion":"7","type":"flatnet","rangeFile":"/r.json"}"#);
        put("22-utf16.conf", &utf16);

        let networks = Networks { files: Vec::new(), conf_dir: folder.path().to_owned() };
        let (found, problems) = networks.look();
        assert_eq!(found.iter().map(|conf| &conf.name[..]).collect::<Vec<_>>(), ["pods"]);
        let told: Vec<_> =
            problems.iter().map(|problem| (problem.to_string(), problem.ours)).collect();
        let expected = [
            ("01-folder.conflist: Is a directory", false),
            ("02-link.conf: No such file", false),
            ("03-fifo.json: it is not a regular file", false),
            ("04-binary.conflist: not valid JSON", false),
            ("05-theirs.conflist: not valid JSON: trailing comma", false),
            ("20-cut.conf: not valid JSON", true),
            ("21-version.conf: cniVersion", true),
            ("22-utf16.conf: not valid JSON: it is UTF-16", true),
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for ((words, ours), (part, of_us)) in told.iter().zip(expected) {
            assert!(words.contains(part) && *ours == of_us, "{words}");
            assert_eq!(words.ends_with(LEFT_OUT), !of_us, "{words}");
        }
        assert_eq!(networks.usable().unwrap().1, Outcome::Failed);
        for file in ["20-cut.conf", "21-version.conf", "22-utf16.conf"] {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        assert_eq!(networks.usable().unwrap().1, Outcome::Fine);
        // One that was named is the command's own trouble.
        let fine = folder.path().join("10-pods.conf");
        let files = vec![fine, folder.path().join("05-theirs.conflist")];
        let named = Networks { files, conf_dir: CONF_DIR.into() };
        assert_eq!(named.usable().unwrap().1, Outcome::Failed);
    }

    #[test]
    fn the_first_file_with_a_networks_name_counts() {
        let folder = tempfile::tempdir().unwrap();
        let put = |file: &str, name: &str, range_file: &str| {
            let text = format!(
                r#"{{"name":"{name}","plugins":[{{"type":"flatnet","rangeFile":"{range_file}"}}]}}"#
            );
            let path = folder.path().join(file);
            fs::write(&path, text).unwrap();
            path
        };
        let pods = put("10-pods.conflist", "pods", "/pods.json");
        let copy = put("15-copy.conflist", "pods", "/pods.json");
        let blue = put("20-blue.conflist", "pods", "/blue.json");
        let green = put("30-green.conflist", "green", "/green.json");
        let range_files = |networks: &Networks| -> Vec<_> {
            networks.look().0.into_iter().filter_map(|conf| conf.range_file).collect()
        };
        let all = Networks { files: Vec::new(), conf_dir: folder.path().to_owned() };
        assert_eq!(range_files(&all), ["/pods.json", "/green.json"].map(PathBuf::from));
        let (_, problems) = all.look();
        let told = problems.iter().zip([&copy, &blue]);
        assert_eq!(problems.len(), 2, "{problems:#?}");
        for (problem, path) in told {
            let words = problem.to_string();
            for file in [&pods, path] {
                assert!(words.contains(&file.display().to_string()), "{words}");
            }
            assert!(problem.ours && !words.contains("green"), "{words}");
        }
        assert_eq!(all.usable().unwrap().1, Outcome::Failed);

        // In the order of the arguments, where there are some.
        let named = Networks { files: vec![blue, green, pods], conf_dir: CONF_DIR.into() };
        assert_eq!(range_files(&named), ["/blue.json", "/green.json"].map(PathBuf::from));
        let alone = Networks { files: vec![copy], conf_dir: CONF_DIR.into() };
        assert_eq!(alone.usable().unwrap().1, Outcome::Fine);
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
