//! Writes the man page into the folder of the first argument, from the same definitions that the executable parses
//! its arguments with: `FOLDER/man/flatnet-docker.8`.

use std::fs;
use std::io::Error;
use std::path::PathBuf;

use clap_mangen::Man;

fn main() -> Result<(), Error> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::other("usage: docker_man FOLDER"))?.join("man");
    fs::create_dir_all(&folder)?;
    Man::new(flatnet_docker::cli::command()).section("8").generate_to(folder).map(drop)
}
