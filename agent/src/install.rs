//! What a runtime needs on this node: the executables first, and the configuration when the overlay stands, for
//! a runtime that sees it calls the node ready. Nothing of it is taken away when the agent ends.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use flatnet::cli::{Configuration, Done, EXECUTABLES, put};

use crate::conflist::Conflist;

/// Where things come from and go to.
#[derive(Clone, Debug)]
pub struct Installer {
    /// A folder of the image that has the executables.
    pub from: PathBuf,
    /// Where runtimes look for plugins.
    pub cni_bin_dir: PathBuf,
    /// Where they look for configurations.
    pub conf_dir: PathBuf,
}

impl Installer {
    /// Puts those executables in place that are others than the ones there; tells which.
    ///
    /// # Errors
    /// One could not be read or put in place.
    pub fn executables(&self) -> Result<Vec<PathBuf>, String> {
        let mut replaced = Vec::new();
        for name in EXECUTABLES {
            let (source, target) = (self.from.join(name), self.cni_bin_dir.join(name));
            if same(&source, &target) {
                continue;
            }
            let bytes = match fs::read(&source) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == ErrorKind::NotFound && target.exists() => {
                    log::info!("{} is not there: {} stays", source.display(), target.display());
                    continue;
                }
                Err(e) => return Err(format!("cannot read {}: {e}", source.display())),
            };
            let done = put(&self.cni_bin_dir, name, &bytes, 0o755).map_err(|e| e.to_string())?;
            if done != Done::Unchanged {
                replaced.push(target);
            }
        }
        Ok(replaced)
    }

    /// Puts the configuration in place; tells whether another one, or none, was there.
    ///
    /// # Errors
    /// Another program's has its name, another file has the network, or it cannot be written.
    pub fn configuration(&self, conflist: &Conflist) -> Result<bool, String> {
        let Conflist { file, text, .. } = conflist;
        let parsed = Configuration::parse(Path::new(file), text.clone().into_bytes());
        let put = parsed.and_then(|configuration| {
            configuration.judge(&self.conf_dir, false)?;
            put(&self.conf_dir, file, text.as_bytes(), 0o600)
        });
        Ok(put.map_err(|e| e.to_string())? != Done::Unchanged)
    }
}

/// Whether both are one file: where the agent was started from the folder that it installs to.
fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::conflist::conflist;
    use crate::fixture::network;

    fn installer(root: &Path) -> Installer {
        for name in ["image", "bin", "net.d"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let [from, cni_bin_dir, conf_dir] = ["image", "bin", "net.d"].map(|name| root.join(name));
        Installer { from, cni_bin_dir, conf_dir }
    }

    #[test]
    fn executables_are_replaced_where_they_differ() {
        let root = tempfile::tempdir().unwrap();
        let installer = installer(root.path());
        assert!(installer.executables().unwrap_err().starts_with("cannot read "));
        for name in EXECUTABLES {
            fs::write(installer.from.join(name), "new").unwrap();
        }
        fs::write(installer.cni_bin_dir.join("flatnet"), "old").unwrap();
        let both = EXECUTABLES.map(|name| installer.cni_bin_dir.join(name));
        let before = fs::metadata(&both[0]).unwrap().ino();
        assert_eq!(installer.executables().unwrap(), both);
        for path in &both {
            assert_eq!(fs::read(path).unwrap(), b"new");
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_ne!(fs::metadata(&both[0]).unwrap().ino(), before, "one that runs keeps its file");
        assert_eq!(installer.executables().unwrap(), [""; 0].map(PathBuf::from));
        fs::remove_file(installer.from.join("flatnet-ipam")).unwrap();
        assert_eq!(
            installer.executables().unwrap(),
            [""; 0].map(PathBuf::from),
            "the node has one"
        );
    }

    #[test]
    fn the_configuration_is_put_in_place_and_no_others_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let installer = installer(root.path());
        let ours = conflist(Path::new("n"), &network(), "a", Path::new("/r.json")).unwrap();
        let path = installer.conf_dir.join("10-pods.conflist");
        assert!(installer.configuration(&ours).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), ours.text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!installer.configuration(&ours).unwrap());
        let foreign = r#"{"name":"pods","plugins":[{"type":"bridge"}]}"#;
        fs::write(&path, foreign).unwrap();
        let error = installer.configuration(&ours).unwrap_err();
        assert!(error.contains("is not network pods of flatnet"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}
