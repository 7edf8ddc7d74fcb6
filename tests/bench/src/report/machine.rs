//! On what a run was made: a number without it says nothing.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use flatnet_tests::program::{ours, system};
use serde::Serialize;

/// The machine and what ran on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model of the CPU.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// Memory, in GiB.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The programs that were compared, each with its version.
    pub programs: Vec<String>,
}

impl Machine {
    /// Looks; which programs were compared, one a line, is the caller's to say.
    pub fn look(programs: Vec<String>) -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kibibytes = memory.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kibibytes.unwrap_or_default().div_ceil(1 << 20),
            kernel: release.trim().to_owned(),
            programs,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cpus, memory, kernel, programs } = self;
        writeln!(f, "{cpu}, {cpus} CPUs, {memory} GiB, Linux {kernel}.\n")?;
        programs.iter().try_for_each(|program| writeln!(f, "- {program}"))
    }
}

/// The programs that `make bench` compares.
pub fn programs() -> Vec<String> {
    let own = said(&ours("flatnet"), &["--version"]);
    let mut programs = vec![own];
    for tool in ["ptp", "bridge", "host-local", "flannel"] {
        programs.push(format!("{tool}: {}", module(&crate::attach::tool(tool))));
    }
    programs.push(said(&system("ip"), &["-V"]));
    for program in ["iptables", "iperf3", "sockperf"] {
        // iperf3 also says what it runs on.
        programs.extend(said(&system(program), &["--version"]).lines().next().map(str::to_owned));
    }
    programs
}

/// The module and version that a Go executable was built from, as the executable itself says.
pub fn module(executable: &Path) -> String {
    let text = said(&system("go"), &["version", "-m", &executable.display().to_string()]);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("mod\t"));
    let words = line.map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" "));
    words.unwrap_or_else(|| "unknown".to_owned())
}

/// What a program prints.
pub fn said(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|error| format!("{}: {error}", program.display()))
}
