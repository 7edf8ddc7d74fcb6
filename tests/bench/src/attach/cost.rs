//! What an ADD and a DEL cost beside time: instructions, system calls, memory, CPU, and the size of
//! the executables. These depend on the machine's load little or not at all.

use std::fs;
use std::path::Path;

use flatnet_tests::netns::inside;
use flatnet_tests::program::system;
use nix::sys::resource::{UsageWho, getrusage};

use super::Spare;
use super::contender::Contender;
use crate::measure::{Findings, Key};
use crate::process::Program;
use crate::progress::Progress;
use crate::scratch::Scratch;

/// A way to count something of a process and all its children.
struct Count {
    test: &'static str,
    unit: &'static str,
    count: fn(Program, &Path) -> f64,
}

const COUNTS: [Count; 4] = [
    Count { test: "user-space instructions", unit: "million", count: instructions },
    Count { test: "system calls", unit: "calls", count: system_calls },
    Count { test: "peak memory", unit: "MiB", count: peak_memory },
    Count { test: "CPU time", unit: "ms", count: cpu_time },
];

/// Measures each contender so many times.
pub fn measure(
    times: usize,
    contenders: &[Contender],
    spare: &Spare,
    progress: &Progress,
    findings: &mut Findings,
) {
    for contender in contenders {
        let size = |path| fs::metadata(path).expect("an executable").len() as f64;
        let total: f64 = contender.executables.iter().map(size).sum();
        let key = Key::new(contender.name, "executables", "on disk");
        findings.push(&key, "MiB", total / MEBIBYTE);
    }
    for Count { test, unit, count } in COUNTS {
        progress.stage(&format!("attach: {test}"));
        for round in 0..times {
            progress.step(round, times);
            for (index, contender) in contenders.iter().enumerate() {
                let (node, pod) = (&contender.nodes[0], &spare.of(index).paths()[0]);
                for verb in ["ADD", "DEL"] {
                    let scratch = Scratch::new();
                    let call = node.call(verb, pod);
                    let sample = inside(&node.netns, || count(call, scratch.path()));
                    findings.push(&Key::new(contender.name, test, verb), unit, sample);
                }
            }
        }
    }
}

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Instructions outside the kernel, in millions. cachegrind rather than callgrind, which does not
/// survive Go's signals; they count alike.
fn instructions(call: Program, folder: &Path) -> f64 {
    let output = format!("--cachegrind-out-file={}/%p", folder.display());
    let options = ["-q", "--tool=cachegrind", "--cache-sim=no", "--trace-children=yes", &output];
    call.under(&system("valgrind"), options).run();
    let of_process = |entry: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a count");
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ")).expect("a total");
        total.trim().parse::<f64>().expect("a number")
    };
    fs::read_dir(folder).expect("the counts").map(of_process).sum::<f64>() / 1e6
}

fn system_calls(call: Program, folder: &Path) -> f64 {
    let file = folder.join("calls");
    let path = file.display().to_string();
    call.under(&system("strace"), ["-f", "-qq", "-o", &path]).run();
    let text = fs::read_to_string(file).expect("what strace wrote");
    // A call that another process interrupts has a second line, which resumes it.
    let is_call = |line: &&str| line.contains('(') && !line.contains("resumed>");
    text.lines().filter(is_call).count() as f64
}

/// The largest resident set of the process and its children.
fn peak_memory(call: Program, folder: &Path) -> f64 {
    peak_of(call, folder)
}

/// The largest resident set, in MiB, of a program or a child of it, as the kernel accounts it.
pub fn peak_of(program: Program, folder: &Path) -> f64 {
    let file = folder.join("peak");
    let path = file.display().to_string();
    program.under(&system("time"), ["-f", "%M", "-o", &path]).run();
    let text = fs::read_to_string(file).expect("what time wrote");
    text.trim().parse::<f64>().expect("kibibytes") / 1024.0
}

/// User and system time together, of the process and all its children.
fn cpu_time(call: Program, _: &Path) -> f64 {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the children's usage");
        let ms = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3
        };
        ms(usage.user_time()) + ms(usage.system_time())
    };
    let before = used();
    call.run();
    used() - before
}
