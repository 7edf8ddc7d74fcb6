//! The arguments, and what is made of them.

use std::env;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand};
use flatnet::logging;
use flatnet_conf::matters::Engine;
use flatnet_conf::{LogLevel, NetworkConf, complain};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::channel;

use crate::agent::{Agent, Parts};
use crate::books::Books;
use crate::document::{Document, Said};
use crate::etcd::{self, EtcdOptions, admin};
use crate::http;
use crate::install::Installer;
use crate::keep;
use crate::kubernetes::{Kubernetes, Network};
use crate::publish::Publisher;
use crate::source::Source;
use crate::state::{State, StateFile};

/// The range file written by the cluster itself.
///
/// The agent of one node: it learns from an engine that the cluster has already which nodes there are and which
/// addresses their pods have, writes the range file, and keeps what stands in the kernel as the file says. The
/// plugin needs none of it: while the agent or the engine is away, pods start and stop by the file.
#[derive(Parser)]
#[command(name = "flatnet-agent", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Goes by the API server of a Kubernetes cluster
    ///
    /// The custom resources FlatnetNode and FlatnetBlock must be installed there. Of all Nodes the agent watches its
    /// own alone; it takes the Node's podCIDRs where it has them, else it claims blocks of clusterCIDRs.
    Kubernetes {
        #[command(flatten)]
        options: Options,
        /// Where the API server is, and who asks [default: the service account of the pod]
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// A network beside the cluster's own, for pods that ask for it: its blocks are always claimed, and bear its name
        /// as the label flatnet.dev/network; that Nodes are ready is for the other network to say
        #[arg(long)]
        secondary: bool,
    },
    /// Goes by the keys of a network in etcd
    ///
    /// Each node says its address below /flatnet/NETWORK/ and claims blocks of clusterCIDRs. Its keys hang on a lease:
    /// a node that is gone for good is forgotten.
    Etcd(Etcd),
}

/// An agent, which has to be told much, or a command for people, in its place: what is required of the one is not of
/// the other, which no derive can say.
enum Etcd {
    Agent(Options, EtcdOptions),
    Administer(admin::Command),
}

impl FromArgMatches for Etcd {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(match matches.subcommand_name() {
            Some(_) => Self::Administer(admin::Command::from_arg_matches(matches)?),
            None => Self::Agent(
                Options::from_arg_matches(matches)?,
                EtcdOptions::from_arg_matches(matches)?,
            ),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Etcd {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = EtcdOptions::augment_args(Options::augment_args(command));
        admin::Command::augment_subcommands(command)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .subcommand_required(false)
            .arg_required_else_help(false)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// What the arguments may be: for man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command of the arguments.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Kubernetes { options, kubeconfig, secondary } => {
            options.run(async |name, node| {
                let network = match secondary {
                    false => Network::Primary,
                    true => Network::Secondary(name.to_owned()),
                };
                let connected = Kubernetes::connect(network, node, kubeconfig.as_deref()).await;
                connected.map_err(|error| error.to_string())
            })
        }
        Command::Etcd(Etcd::Administer(command)) => command.run(),
        Command::Etcd(Etcd::Agent(options, etcd)) => {
            options.run(async |network, node| etcd::Etcd::connect(network, node, &etcd).await)
        }
    }
}

/// What an agent is told, whatever its engine.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// This node's name [default: the environment's NODE_NAME, else the host's name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// What all nodes have in common: a JSON document with name and clusterCIDRs. When it says something else, the
    /// agent ends with an error, to be started again
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// The range file that is written; it outlives a reboot, so that pods start while the engine is still away
    /// [default: /var/lib/flatnet/NETWORK.json]
    #[arg(long, value_name = "FILE")]
    range_file: Option<PathBuf>,
    /// Folder of the CNI configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// Folder of the CNI plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    /// Folder with the plugins that are put there [default: the one of this executable]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are answered
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9449")]
    listen: SocketAddr,
}

impl Options {
    /// Runs the agent with a source, which is connected to for the network and the node of these names; ends when
    /// the process is asked to.
    pub fn run<S, C>(&self, connect: C) -> ExitCode
    where
        S: Source,
        C: AsyncFnOnce(&str, &str) -> Result<S, String>,
    {
        logging::start(LogLevel::Info, None);
        match self.try_run(connect) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The same as the plugin's for what could not be done.
                complain("flatnet-agent", &error);
                ExitCode::from(2)
            }
        }
    }

    fn try_run<S, C>(&self, connect: C) -> Result<(), String>
    where
        S: Source,
        C: AsyncFnOnce(&str, &str) -> Result<S, String>,
    {
        let (node, path) = (self.node_name()?, self.network.clone());
        // The plugin reads it from wherever a runtime calls it.
        let range_file = self.range_file.as_ref().map(std::path::absolute).transpose();
        let range_file = range_file.map_err(|e| format!("--range-file: {e}"))?;
        let document = Document { path, node, range_file };
        let said = document.read().map_err(|e| e.to_string())?;
        let network = said.network.clone();
        let mut state = State::new();
        state.metrics.add_fast_path(said.conflist.conf.clone(), network.vni);
        let state = Arc::new(state);
        let parts = self.parts(&document, said, Arc::clone(&state), S::ENGINE)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("there can be no runtime: {e}"))?;
        runtime.block_on(async {
            let end = ended().map_err(|e| format!("signals cannot be heard: {e}"))?;
            tokio::spawn(http::serve(self.listen, state));
            let source = connect(&parts.network.name, &parts.name).await?;
            tokio::select! {
                () = Agent::new(source, parts).run(end) => Ok(()),
                () = document.differs(network) => Err(format!(
                    "{} says something else now; the agent ends, to be started again with it",
                    document.path.display()
                )),
            }
        })
    }

    /// Looks whether all can be written that is to be, and puts the executables in place.
    fn parts(
        &self,
        document: &Document,
        said: Said,
        state: Arc<State>,
        engine: Engine,
    ) -> Result<Parts, String> {
        let Said { network, range_file, conflist } = said;
        let name = document.node.clone();
        NetworkConf::near_misses(conflist.text.as_bytes())
            .iter()
            .for_each(|miss| log::warn!("{}: conflist: {miss}", self.network.display()));
        let publisher = Publisher::new(&range_file).map_err(|e| e.to_string())?;
        let installer = self.installer()?;
        for path in installer.executables()? {
            log::info!("{} is in place", path.display());
        }
        // Its lines are this process's too, whatever the plugin's are to be.
        let conf =
            NetworkConf { log_level: LogLevel::Info, log_file: None, ..conflist.conf.clone() };
        let state_file = StateFile::new(&conf.state_dir, &network.name, &name, engine);
        let mut books = Books::of(conf.clone(), name.clone());
        let (sender, reports) = channel(4);
        let last = publisher.last();
        Ok(Parts {
            network,
            name,
            publisher,
            installer,
            conflist,
            state,
            state_file,
            upkeep: Box::new(move || keep::start(conf.clone(), last.clone(), sender.clone())),
            reports,
            books: Box::new(move || books.news()),
        })
    }

    fn node_name(&self) -> Result<String, String> {
        let given = self.node.clone().or_else(|| env::var("NODE_NAME").ok());
        let name = given.filter(|name| !name.is_empty()).map_or_else(host_name, Ok)?;
        match flatnet_conf::node_name_problem(&name) {
            Some(problem) => Err(format!("node name {name:?} {problem}; give another by --node")),
            None => Ok(name),
        }
    }

    fn installer(&self) -> Result<Installer, String> {
        let from = match &self.from {
            Some(from) => from.clone(),
            None => {
                let own = env::current_exe();
                let own = own.map_err(|e| format!("cannot find the executable: {e}"))?;
                own.parent().map_or_else(PathBuf::new, PathBuf::from)
            }
        };
        let (cni_bin_dir, conf_dir) = (self.cni_bin_dir.clone(), self.conf_dir.clone());
        Ok(Installer { from, cni_bin_dir, conf_dir })
    }
}

fn host_name() -> Result<String, String> {
    let name =
        nix::unistd::gethostname().map_err(|e| format!("cannot ask for the host's name: {e}"))?;
    Ok(name.to_string_lossy().to_ascii_lowercase())
}

/// Returns when the process is asked to end.
fn ended() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    Ok(async move {
        let [terminate, interrupt] = &mut signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_agent_of_etcd_has_all_options_and_a_command_its_own() {
        let parse =
            |words: &[&str]| Cli::try_parse_from([&["flatnet-agent", "etcd"], words].concat());
        let agent = ["--network", "/n.json", "--vtep", "192.0.2.1", "--endpoints", "http://a:1"];
        assert!(matches!(parse(&agent).unwrap().command, Command::Etcd(Etcd::Agent(..))));
        let list = ["list", "--network", "/n.json", "--endpoints", "http://a:1"];
        assert!(matches!(parse(&list).unwrap().command, Command::Etcd(Etcd::Administer(_))));
        for wrong in [&agent[..2], &agent[2..], &["forget"], &["--vtep", "192.0.2.1", "list"], &[]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn names_and_folders_are_found() {
        let parse = |more: &[&str]| {
            let arguments = ["x", "--network", "/n.json"].into_iter().chain(more.iter().copied());
            Alone::parse_from(arguments).options
        };
        assert_eq!(parse(&["--node", "node-a"]).node_name().unwrap(), "node-a");
        let error = parse(&["--node", "../a"]).node_name().unwrap_err();
        assert!(error.starts_with("node name \"../a\" must "), "{error}");
        let installer = parse(&["--from", "/image"]).installer().unwrap();
        assert_eq!(installer.from, PathBuf::from("/image"));
        assert_eq!(installer.conf_dir, PathBuf::from("/etc/cni/net.d"));
        let own = parse(&[]).installer().unwrap();
        assert_eq!(own.from, env::current_exe().unwrap().parent().unwrap());
        assert_eq!(parse(&[]).listen.to_string(), "127.0.0.1:9449");
    }
}
