//! Writes the man pages into the folder of the first argument, from the same definitions that the executable
//! parses its arguments with: `FOLDER/man/flatnet-agent*.8`.

use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

fn main() -> Result<(), Error> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::other("usage: man FOLDER"))?.join("man");
    fs::create_dir_all(&folder)?;
    let mut command = flatnet_agent::cli::command().disable_help_subcommand(true);
    // Then a subcommand knows its whole name.
    command.build();
    write(&command, &folder)
}

/// Of a command, and of those that it has.
fn write(command: &Command, folder: &Path) -> Result<(), Error> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write(subcommand, folder)?;
    }
    Man::new(command.clone()).section("8").generate_to(folder).map(drop)
}
