//! An agent whose engine, books and upkeep are the test's; its files are real.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flatnet_conf::matters::Engine;
use flatnet_conf::{Range, RangeFile, read_file};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::LocalSet;
use tokio::time::{Duration, sleep};

use crate::agent::*;
use crate::assemble::range_file;
use crate::cluster::{BlockEntry, Cluster};
use crate::conflist::conflist;
use crate::fixture::{self, network};
use crate::judge::judge;
use crate::source::{Deed, Notice, OwnNode, Refusal, Traffic};

/// The engine as it is.
#[derive(Default)]
pub struct Inner {
    pub cluster: Cluster,
    /// What it told last; the same unless it lags.
    told: Cluster,
    pub own: Option<OwnNode>,
    pub trouble: Option<String>,
    /// Nothing was read yet.
    pub hidden: bool,
    /// What is done is not told of.
    pub lags: bool,
    /// Nodes may be given ranges later.
    pub gives: bool,
    /// It was put back to an older copy.
    pub forgets: bool,
    /// Every deed fails.
    pub refuses: bool,
    /// So many claims come too late.
    pub taken: u32,
    at: i64,
    calls: u64,
    deeds: Vec<String>,
    notices: Vec<(&'static str, String)>,
    said: usize,
}

/// The engine, in the hands of the test and of the agent.
#[derive(Clone, Default)]
pub struct World(Rc<RefCell<Inner>>, Rc<Notify>);

impl World {
    pub fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.0.borrow_mut();
        let result = change(&mut inner);
        if !inner.lags {
            inner.told = inner.cluster.clone();
        }
        self.1.notify_one();
        result
    }

    pub fn poke(&self) {
        self.change(|_| ());
    }

    /// An object comes, also to be heard of.
    pub fn add(&self, words: &str) {
        self.change(|world| {
            world.at += 1;
            fixture::add(&mut world.cluster, words, world.at);
            fixture::add(&mut world.told, words, world.at);
        });
    }

    pub fn replace(&self, words: &[&str]) {
        self.change(|world| world.cluster = fixture::cluster(words));
    }

    pub fn catch_up(&self) {
        self.change(|world| world.lags = false);
    }

    pub fn deeds(&self) -> Vec<String> {
        self.0.borrow().deeds.clone()
    }

    pub fn notices(&self) -> Vec<(&'static str, String)> {
        self.0.borrow().notices.clone()
    }

    pub fn said(&self) -> usize {
        self.0.borrow().said
    }
}

impl Source for World {
    const ENGINE: Engine = Engine::Kubernetes;

    async fn changed(&mut self) {
        self.1.notified().await;
    }

    fn cluster(&self) -> Option<Cluster> {
        let inner = self.0.borrow();
        (!inner.hidden).then(|| inner.told.clone())
    }

    fn own(&self) -> Option<OwnNode> {
        let inner = self.0.borrow();
        inner.own.clone().filter(|_| !inner.hidden)
    }

    fn gives_ranges(&self) -> bool {
        self.0.borrow().gives
    }

    fn forgets(&self) -> bool {
        self.0.borrow().forgets
    }

    fn trouble(&self) -> Option<String> {
        self.0.borrow().trouble.clone()
    }

    fn traffic(&self) -> Traffic {
        let calls = self.0.borrow().calls;
        Traffic { answered: BTreeMap::from([(("call", 200), calls)]), received_bytes: 0 }
    }

    async fn carry_out(&mut self, deed: &Deed) -> Result<(), Refusal> {
        self.change(|world| {
            world.calls += 1;
            if world.refuses {
                return Err(Refusal::Failed("refused".to_owned()));
            }
            let mark = |world: &mut Inner, range: &IpNetwork, retiring| {
                let mut blocks = world.cluster.blocks.iter();
                match blocks.find(|block| block.subnet() == Some(*range)) {
                    Some(block) => {
                        let block = BlockEntry { retiring, ..BlockEntry::clone(block) };
                        world.cluster.blocks.put(Arc::new(block));
                    }
                    None => fixture::add(&mut world.cluster, &format!("{range} a"), world.at),
                }
            };
            world.at += 1;
            let words = match deed {
                Deed::PutNode { vtep } => {
                    world.cluster.nodes.retain(|node| node.name != "a");
                    fixture::add(&mut world.cluster, &format!("a {vtep}"), world.at);
                    format!("put {vtep}")
                }
                Deed::Claim(range) | Deed::Reclaim(range) if world.taken > 0 => {
                    world.taken -= 1;
                    return Err(Refusal::Taken { range: *range, holder: "b".to_owned() });
                }
                Deed::Claim(range) | Deed::Reclaim(range) => {
                    mark(world, range, false);
                    format!("claim {range}")
                }
                Deed::Retire(range) => {
                    mark(world, range, true);
                    format!("retire {range}")
                }
                Deed::Release(range) => {
                    world.cluster.blocks.retain(|block| block.subnet() != Some(*range));
                    format!("release {range}")
                }
            };
            world.deeds.push(words);
            Ok(())
        })
    }

    async fn available(&mut self) -> Result<(), Refusal> {
        self.0.borrow_mut().said += 1;
        Ok(())
    }

    async fn tell(&mut self, notice: &Notice) {
        assert!(notice.warning);
        self.0.borrow_mut().notices.push((notice.reason, notice.message.clone()));
    }
}

/// An agent of node `a`.
pub struct Bench {
    pub world: World,
    pub state: Arc<State>,
    folder: TempDir,
    usage: Rc<RefCell<Option<Usage>>>,
    upkeep: Rc<Cell<bool>>,
    reports: Sender<Report>,
    parts: RefCell<Option<Parts>>,
}

impl Bench {
    /// With these objects, and these ranges given to the node.
    pub fn new(words: &[&str], given: &[&str]) -> Self {
        let world = World::default();
        world.change(|world| {
            let addresses = vec!["192.0.2.1".parse().unwrap()];
            let ranges = given.iter().map(|range| range.parse().unwrap()).collect();
            world.own = Some(OwnNode { addresses, ranges });
            world.cluster = fixture::cluster(words);
            world.at = 1000;
        });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let range_file = path("lib/pods.json");
        let network = network();
        let (sender, reports) = channel(4);
        let usage = Rc::new(RefCell::new(Some(Usage::default())));
        let upkeep = Rc::new(Cell::new(false));
        let state = Arc::new(State::new());
        let (books, begins) = (Rc::clone(&usage), Rc::clone(&upkeep));
        let parts = Parts {
            conflist: conflist(Path::new("n"), &network, "a", &range_file).unwrap(),
            network,
            name: "a".to_owned(),
            publisher: Publisher::new(&range_file).unwrap(),
            installer: Installer {
                from: path("image"),
                cni_bin_dir: path("bin"),
                conf_dir: path("net.d"),
            },
            state: Arc::clone(&state),
            state_file: StateFile::new(&path("run"), "pods", "a", Engine::Kubernetes),
            upkeep: Box::new(move || {
                assert!(!begins.replace(true), "it is started once");
                Ok(())
            }),
            reports,
            books: Box::new(move || books.take().map(Ok)),
        };
        Self { world, state, folder, usage, upkeep, reports: sender, parts: Some(parts).into() }
    }

    /// The agent goes on while the test does.
    pub async fn run(self, test: impl AsyncFnOnce(&Self)) {
        let parts = self.parts.take().unwrap();
        let agent = Agent::new(self.world.clone(), parts);
        let local = LocalSet::new();
        local.spawn_local(agent.run(pending()));
        local.run_until(test(&self)).await;
    }

    /// The upkeep tells of a look; returns when it was heard.
    pub async fn report(&self, outcome: Result<usize, &str>, whole: bool) {
        let outcome = outcome.map_err(str::to_owned);
        let (problems, took) = (Vec::new(), Duration::from_millis(20));
        self.reports.send(Report { outcome, problems, whole, took }).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }

    pub fn has_upkeep(&self) -> bool {
        self.upkeep.get()
    }

    /// These are all the pods' addresses now.
    pub fn pods(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
        *self.usage.borrow_mut() = Some(addresses.collect());
    }

    pub fn conflist(&self) -> PathBuf {
        self.folder.path().join("net.d/10-pods.conflist")
    }

    pub fn range_file(&self) -> PathBuf {
        self.folder.path().join("lib/pods.json")
    }

    /// A file of before.
    pub fn put_file(&self, words: &[&str]) -> RangeFile {
        let network = network();
        let file = range_file(&network, &judge(&network, &fixture::cluster(words)), &|_| false);
        let file = file.unwrap();
        Publisher::new(&self.range_file()).unwrap().publish(file.clone()).unwrap();
        file
    }

    /// The nodes of the range file, a line each.
    pub fn nodes(&self) -> Vec<String> {
        nodes_of(&RangeFile::load(&self.range_file()).unwrap())
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> String {
        let text = self.state.metrics.text().unwrap();
        let begin = format!("flatnet_agent_{name} ");
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&begin));
        values.next().unwrap_or_else(|| panic!("{name} is not in\n{text}")).to_owned()
    }

    pub fn matters_file(&self) -> PathBuf {
        self.folder.path().join("run/pods/agent.json")
    }

    /// The file for the plugin's tools.
    pub fn matters(&self) -> serde_json::Value {
        serde_json::from_slice(&read_file(&self.matters_file()).unwrap()).unwrap()
    }
}

/// The nodes of a file, a line each; a range that retires bears a !.
pub fn nodes_of(file: &RangeFile) -> Vec<String> {
    let line = |node: &flatnet_conf::Node| {
        let mark = |range: &Range| if range.is_retiring() { "!" } else { "" };
        let ranges = node.ranges.iter().map(|range| format!(" {}{}", range.subnet(), mark(range)));
        let ranges: String = ranges.collect();
        format!("{} {}{ranges}", node.name, node.vtep)
    };
    file.nodes.iter().map(line).collect()
}
