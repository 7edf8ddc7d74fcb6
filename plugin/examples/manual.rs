//! Writes man pages and shell completions into the folder of the first argument, from the same
//! definitions that the executable parses its arguments with.
//!
//! `FOLDER/man/flatnet*.1`, and for each shell the file as that shell looks for it:
//! `bash/flatnet`, `zsh/_flatnet`, `fish/flatnet.fish`.

use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

fn main() -> Result<(), Error> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::other("usage: manual FOLDER"))?;
    // The manual is of a version, not of one build of it.
    let command = flatnet::cli::command().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command.clone(), subfolder(&folder, "man")?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let written = clap_complete::generate_to(
            shell,
            &mut command.clone(),
            "flatnet",
            subfolder(&folder, &shell.to_string())?,
        )?;
        // bash-completion loads the file that is called like the command.
        if shell == Shell::Bash {
            fs::rename(&written, written.with_file_name("flatnet"))?;
        }
    }
    Ok(())
}

fn subfolder(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    fs::create_dir_all(&path)?;
    Ok(path)
}
