//! The arguments, and what is made of them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use flatnet::endpoint::Endpoints;
use flatnet::logging;
use flatnet_conf::LogLevel;

use crate::{host, network, serve, socket};

/// flatnet as a network and IPAM driver of Docker
///
/// Serves Docker on the socket that systemd hands over (flatnet-docker.socket), else on one of its own. The networks
/// are those of the CNI configurations.
#[derive(Parser)]
#[command(name = "flatnet-docker", version)]
struct Cli {
    /// Folder of the CNI configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// Socket to serve Docker on, where systemd hands none over; Docker calls the driver by the file's name
    #[arg(long, value_name = "FILE", default_value = "/run/docker/plugins/flatnet.sock")]
    socket: PathBuf,
    /// Work with the files that the parent process sees, not with the own: for a managed plugin of Docker
    #[arg(long)]
    host_mounts: bool,
}

/// The definition of the arguments, of which the man page is made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What the executable does: serves until it is told to end.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    logging::start(LogLevel::Info, None);
    match serve(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            log::error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: &Cli) -> Result<(), String> {
    let listener = socket::listen(&cli.socket)?;
    if cli.host_mounts {
        host::enter_mounts()?;
    }
    let endpoints = Endpoints::new(&cli.conf_dir);
    // A managed plugin begins with the daemon, which does not activate it as it does others.
    let swept = if cli.host_mounts { endpoints.sweep() } else { Ok(()) };
    // An earlier driver may have been ended while Docker moved a device.
    let mended = endpoints.mend(&mut network::follow);
    for problem in [swept, mended].into_iter().filter_map(Result::err) {
        log::warn!("{problem}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(serve::serve(listener, endpoints))
}
